"""Which column of a table holds what: named by ``data.columns``, else recognised among the usual names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from mam.config.data import ColumnsConfig
from mam.errors import DataError

# The field of an example -> names of its column that are in use, the preferred first. The first of each is mam's own.
USUAL: dict[str, tuple[str, ...]] = {
    "audio": ("file_name", "audio", "path", "file", "filename", "audio_path", "audio_file", "audio_filepath", "wav"),
    "text": (
        "transcription",
        "text",
        "transcript",
        "sentence",
        "normalized_text",
        "raw_transcription",
        "raw_text",
        "normalized_transcription",
        "utterance",
    ),
    "label": ("label", "category", "class", "class_name", "sound"),
    "id": ("id", "utt_id", "utterance_id", "audio_id", "segment_id", "sample_id"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id", "spk", "reader", "reader_id"),
    "split": ("split",),
    "fold": ("fold",),
    "origin": ("origin", "src_file", "session", "session_id"),
}


@dataclass(frozen=True)
class Columns:
    """The column of each field that a table has; ``others`` are further usual names of the text or the label."""

    names: Mapping[str, str]
    others: Mapping[str, tuple[str, ...]]

    def said(self, but_for_own_names: bool = False) -> str:
        """Return the columns in words; with ``but_for_own_names`` without those that are called as in mam."""
        own = {kind: names[0] for kind, names in USUAL.items()} if but_for_own_names else {}
        parts = [
            f"{kind} from {name}" + "".join(f", not {other}" for other in self.others.get(kind, ()))
            for kind, name in self.names.items()
            if own.get(kind) != name or kind in self.others
        ]
        return "; ".join(parts)


def find_columns(
    asked: ColumnsConfig, present: Sequence[str], place: str, only: Sequence[str] = tuple(USUAL)
) -> Columns:
    """Return the columns of a table: those asked for, else those with usual names, upper or lower case.

    Args:
        asked: ``data.columns``.
        present: The names of the table's columns.
        place: The table, for messages.
        only: The fields that may be recognised by name; others must be asked for.

    Raises:
        DataError: A column that was asked for is missing; the message lists those present.
    """
    wanted = {kind.name: getattr(asked, kind.name) for kind in fields(asked)}
    missing = [f"data.columns.{kind}={name}" for kind, name in wanted.items() if name and name not in present]
    if missing:
        raise DataError(f"{place}: has no column {' and '.join(missing)}. Its columns are: {listed(present)}.")
    by_name = {name.casefold(): name for name in reversed(present)}
    taken = {name for name in wanted.values() if name}
    names: dict[str, str] = {}
    others: dict[str, tuple[str, ...]] = {}
    for kind in USUAL:
        if wanted[kind]:
            names[kind] = wanted[kind]
            continue
        usual = [by_name[name] for name in USUAL[kind] if name in by_name and by_name[name] not in taken]
        if kind in only and usual:
            names[kind] = usual[0]
            if kind in ("text", "label") and usual[1:]:
                others[kind] = tuple(usual[1:])
    return Columns(names, others)


def unrecognised(place: str, kinds: Sequence[str], present: Sequence[str]) -> str:
    """Return the message that a table has no column for some fields, each ``"text"`` or ``"text or label"``."""
    keys = " ".join(f"data.columns.{kind.partition(' ')[0]}=NAME" for kind in kinds)
    return (
        f"{place}: has no column with a known name for {' and '.join(kinds)}. Its columns are: {listed(present)}. Set"
        f" {keys}, or rename it (docs/your-data.md lists the known names)."
    )


def listed(names: Sequence[str]) -> str:
    """Return column names in their order."""
    return ", ".join(names) or "(none)"
