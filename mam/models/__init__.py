"""Models: checkpoints on disk, the attention blocks in them, targets that are evaluated, sources that are read."""

from mam.models import conformer, ctc, events, whisper  # noqa: F401  # fill the registry of targets
