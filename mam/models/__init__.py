"""Models: checkpoints on disk, the attention blocks in them, targets to evaluate and sources to read."""

from mam.models import conformer, ctc, events, whisper  # noqa: F401  # fill the registry of targets
