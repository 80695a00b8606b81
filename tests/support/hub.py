"""Data sets as on the hub, in small: Parquet files with encoded recordings, written without torchcodec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
from datasets import Audio, ClassLabel, Dataset, Features, Value

from mam.config.data import ColumnsConfig, DataConfig, HubConfig, HubSplitConfig


def write_part(
    path: Path, clips: Sequence[Path], audio: str = "audio", classes: Sequence[str] = (), **columns: Any
) -> Path:
    """A Parquet file of one split; ``label`` is a ClassLabel if ``classes`` are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {audio: [{"bytes": clip.read_bytes(), "path": clip.name} for clip in clips], **columns}
    made = Dataset.from_dict(rows)
    if classes:
        made = made.cast_column("label", ClassLabel(names=list(classes)))
    made.cast_column(audio, Audio(decode=False)).to_parquet(path)
    return path


def write_cells(path: Path, cells: Sequence[dict[str, Any] | None], **columns: Any) -> Path:
    """A Parquet file with these cells of audio, whatever they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "text": Value("string")})
    made = Dataset.from_dict({"audio": list(cells), **columns}, features=schema)
    pyarrow.parquet.write_table(made.cast_column("audio", Audio(decode=False)).data.table, path)
    return path


def config(place, split="test", columns=None, form="audiofolder", limit=None, splits=None, **hub):
    return DataConfig(
        name="x",
        format=form,
        source="hub",
        split=split,
        limit=limit,
        columns=ColumnsConfig(**columns or {}),
        hub=HubConfig(id=str(place), split=HubSplitConfig(**splits or {}), **hub),
    )
