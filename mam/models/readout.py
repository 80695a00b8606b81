"""The kinds of output that a target is read for."""

from typing import Literal

# A transcript, pooled features for a probe, or the scores of the checkpoint's own classes.
Readout = Literal["text", "features", "scores"]
