"""Tools for plug-ins: decorators that register your own code, and the types that this code takes and returns.

A plug-in is a Python file that uses these decorators. ``mam run plugins=[./mine.py]`` loads it; see docs/plugins.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mam.errors import CheckpointError, ConfigError, DataError, MamError, MergeError

if TYPE_CHECKING:
    from mam.data.listing import Example, Listing, data_format, lines_of, text_of
    from mam.merging.basis import Basis, Heads, LayerPair
    from mam.merging.controls import Place, control
    from mam.merging.fits import alignment
    from mam.merging.methods import LayerSide, Projection, layer_method, method
    from mam.merging.pairing import pairing
    from mam.merging.schedules import schedule
    from mam.models.ctc import CTCTarget
    from mam.models.families import Target, target_family
    from mam.models.hub import HubTarget
    from mam.models.sources import source_family
    from mam.scoring.text import language_normalizer, normalizer
    from mam.tuning.search import tuner

# Imported on first use: a plug-in with a normalizer alone does not wait for torch.
_PLACES = {
    **dict.fromkeys(("Example", "Listing", "data_format", "lines_of", "text_of"), "mam.data.listing"),
    "alignment": "mam.merging.fits",
    **dict.fromkeys(("Basis", "Heads", "LayerPair"), "mam.merging.basis"),
    **dict.fromkeys(("Place", "control"), "mam.merging.controls"),
    **dict.fromkeys(("LayerSide", "Projection", "layer_method", "method"), "mam.merging.methods"),
    "pairing": "mam.merging.pairing",
    "schedule": "mam.merging.schedules",
    "CTCTarget": "mam.models.ctc",
    "HubTarget": "mam.models.hub",
    "source_family": "mam.models.sources",
    **dict.fromkeys(("Target", "target_family"), "mam.models.families"),
    **dict.fromkeys(("language_normalizer", "normalizer"), "mam.scoring.text"),
    "tuner": "mam.tuning.search",
}

__all__ = [
    "Basis",
    "CTCTarget",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Example",
    "Heads",
    "HubTarget",
    "LayerPair",
    "LayerSide",
    "Listing",
    "MamError",
    "MergeError",
    "Place",
    "Projection",
    "Target",
    "alignment",
    "control",
    "data_format",
    "language_normalizer",
    "layer_method",
    "lines_of",
    "method",
    "normalizer",
    "pairing",
    "schedule",
    "source_family",
    "target_family",
    "text_of",
    "tuner",
]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _PLACES:
        raise AttributeError(f"module 'mam.plugins' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return value
