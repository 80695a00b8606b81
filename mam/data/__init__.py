"""Data sets: a folder becomes a listing of rows, a split of it a corpus of examples, a corpus packs of audio."""

from mam.data import audiofolder, esc50, librispeech, ljspeech, vctk  # noqa: F401  # fill the registry of formats
