"""The families of targets: which class loads a checkpoint. Importing this module registers those of mam."""

from __future__ import annotations

from mam.errors import CheckpointError, choices
from mam.models import conformer, ctc, events, whisper  # noqa: F401  # fill the registry
from mam.models.checkpoints import Checkpoint
from mam.models.readout import Readout
from mam.models.refusals import refuse_unmergeable
from mam.models.targets import TARGETS, Target, target_family

__all__ = ["TARGETS", "Target", "family_of", "load_target", "target_family"]


def family_of(checkpoint: Checkpoint, readout: Readout) -> type[Target]:
    """Return the class for this checkpoint; CheckpointError if there is none that supports ``readout``."""
    known = [model_type for model_type, family in TARGETS.items() if readout in family.readouts]
    if checkpoint.model_type not in known:
        kind = {"text": "speech recogniser", "features": "target", "scores": "classifier"}[readout]
        raise CheckpointError(
            f"model.target={checkpoint.id}: model_type {checkpoint.model_type!r} is not a known {kind}."
            f" Known: {choices(known)}."
        )
    return TARGETS[checkpoint.model_type]


def load_target(checkpoint: Checkpoint, readout: Readout = "text") -> Target:
    """Load a target in fp32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: The architecture is unknown, the weights are quantised or do not fit it, or the file lacks the
            head.
    """
    family = family_of(checkpoint, readout)
    refuse_unmergeable(checkpoint)
    return family(checkpoint, readout)
