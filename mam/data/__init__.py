"""Data sets: a folder becomes a listing of rows, one split becomes a corpus, and its clips are grouped into packs."""

from mam.data import audiofolder, commonvoice, esc50, kaldi, librispeech, ljspeech, vctk  # noqa: F401  # fill the registry of formats
