"""`mam list`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mam.errors import ConfigError, choices, shown
from mam.verbs import VERBS
from mam.verbs.common import Words

if TYPE_CHECKING:
    from mam.config.search import SearchPath

Entries = dict[str, str]  # name -> one line about it


def main(argv: Sequence[str]) -> int:
    """Show the kinds, or the choices of one kind with a line about each."""
    words = Words("list", "[KIND] [--config-dir DIR] [plugins=[...]] [--json]", "mam list controls")
    words.add_argument(
        "kind", metavar="KIND", nargs="?", help="one of the kinds that `mam list` without arguments shows"
    )
    words.add_argument("--json", action="store_true", help="print names and descriptions as JSON")
    words.plugins()
    search, argv = words.search(argv)
    options = words.read(argv)
    if options.kind not in (None, *KINDS):
        raise ConfigError(f"{options.kind}: not known. Choose one of: {choices(list(KINDS))}")

    import json

    from mam.terminal import Terminal, explained

    terminal = Terminal()
    if options.kind is not None:
        entries = _entries(options.kind, search)
        made: object = entries
        lines = explained(entries, terminal.width, indent=0, most=32)
    else:
        counts = {kind: len(_entries(kind, search)) for kind in KINDS}
        made = counts
        lines = [f"{kind:<{LONGEST}}{count:>3}" for kind, count in counts.items()]
        lines += ["", "`mam list KIND` shows the choices of one kind, such as `mam list models`."]
    for line in [json.dumps(made, indent=2, ensure_ascii=False)] if options.json else lines:
        print(shown(line))
    return 0


def _lines(registry: Mapping[str, Any]) -> Entries:
    """Return a line about every entry of a registry, by name."""
    from mam.config.reference import line_about

    return {name: line_about(entry) for name, entry in registry.items()}


def _entries(kind: str, search: SearchPath) -> Entries:
    """Return the choices of a kind; those of a group of files are looked up where the user has configurations too."""
    if kind in GROUPS:
        from mam.config.reference import files_of

        return files_of(GROUPS[kind], search)
    return REGISTRIES[kind]()


def _of_tables(name: str) -> Entries:
    """Return the entries of a registry of `mam.merging.tables`."""
    from mam.merging import tables

    return _lines(getattr(tables, name))


def _schedules() -> Entries:
    from mam.merging.schedules import SCHEDULES

    return _lines(SCHEDULES)


def _pairings() -> Entries:
    from mam.merging.pairing import PAIRINGS

    return _lines(PAIRINGS)


def _normalizers() -> Entries:
    from mam.scoring.text import NORMALIZERS

    return _lines(NORMALIZERS)


def _formats() -> Entries:
    import mam.data  # noqa: F401  # fill the registry of formats
    from mam.data.listing import FORMATS

    return _lines(FORMATS)


def _targets() -> Entries:
    from mam.models.families import TARGETS

    return _lines(dict(sorted(TARGETS.items())))


def _sources() -> Entries:
    from mam.models.sources import SOURCES

    return {name: f"{family.modality} model" for name, family in sorted(SOURCES.items())}


GROUPS = {  # kind -> group of files; methods and schedules are registries
    "models": "model",
    "data": "data",
    "layers": "layers",
    "experiments": "experiment",
    "tunes": "tune",
    "trainings": "train",
    "launchers": "hydra/launcher",
}
REGISTRIES: dict[str, Callable[[], Entries]] = {
    "formats": _formats,
    "methods": partial(_of_tables, "METHODS"),
    "controls": partial(_of_tables, "CONTROLS"),
    "alignments": partial(_of_tables, "ALIGNMENTS"),
    "projections": partial(_of_tables, "PROJECTS"),
    "pairings": _pairings,
    "schedules": _schedules,
    "normalizers": _normalizers,
    "targets": _targets,
    "sources": _sources,
    "verbs": partial(_lines, VERBS),
}
KINDS = (*GROUPS, *REGISTRIES)

LONGEST = max(map(len, KINDS)) + 1
