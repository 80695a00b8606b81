"""mam: a benchmark of multimodal attention merging (Sundar et al., arXiv 2312.14378).

For experiments: `run`, `sweep`, `load_result`, `results`. For models in memory: `merge`, `unmerge`, `merged`,
`learnable`. Register your own code with the decorators in `mam.plugins`. See docs/python.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mam.errors import CheckpointError, ConfigError, DataError, MamError, MergeError, RecordError, TrainingError
from mam.identity import VERSION

if TYPE_CHECKING:
    from mam.interface.experiments import RunResult, load_result, results, run, sweep
    from mam.interface.learning import Handle, learnable
    from mam.interface.merges import merge, merged, unmerge

__version__ = VERSION

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Handle",
    "MamError",
    "MergeError",
    "RecordError",
    "RunResult",
    "TrainingError",
    "__version__",
    "learnable",
    "load_result",
    "merge",
    "merged",
    "results",
    "run",
    "sweep",
    "unmerge",
]

# Imported on first use, because torch takes seconds.
_PLACES = {
    **dict.fromkeys(("RunResult", "load_result", "results", "run", "sweep"), "mam.interface.experiments"),
    **dict.fromkeys(("Handle", "learnable"), "mam.interface.learning"),
    **dict.fromkeys(("merge", "merged", "unmerge"), "mam.interface.merges"),
}


def __getattr__(name: str) -> Any:
    """Import a public name, or `mam.plugins`, on its first use."""
    if name == "plugins":
        return import_module("mam.plugins")
    if name not in _PLACES:
        raise AttributeError(f"module 'mam' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*globals(), *__all__})
