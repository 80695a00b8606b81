"""Plug-ins in tests: written into a folder, and forgotten again."""

from __future__ import annotations

from pathlib import Path

from mam import extensions
from mam.registry import foreign, withdraw

HALF = '''
from mam.plugins import method

@method
def half(target, source, lam):
    """Half of MAM."""
    return target.lerp(source, lam / 2)
'''


def forget_plugins() -> None:
    """Withdraw all that is not mam's own, as in a new process."""
    extensions._loaded.clear()
    extensions._resting.clear()
    for owner in {entry.owner for entry in foreign()}:
        withdraw(owner)
    extensions.use([])


def plugin(text: str, name: str = "mine.py") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
