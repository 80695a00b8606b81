"""The files that a calibration reads, and their hashes; activations are measured in `mam.evaluation.calibration`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mam.config.schema import Config
from mam.errors import DataError
from mam.files import local_path, sha256_file, sha256_json
from mam.merging.options import Calibration

TRAIN = "train"  # value of calibration.audio: the data set's own training split


def train_config(config: Config) -> Config:
    """Return the configuration of the recordings for ``calibration.audio=train``: the first of the training split.

    Raises:
        DataError: audio events, where every fold is a test fold in turn.
    """
    if config.model.task == "events":
        raise DataError(
            "calibration.audio=train: every fold of this data is tested in turn, so none is left for calibration."
            " Set calibration.audio=FOLDER with other recordings"
        )
    return replace(config, data=replace(config.data, split=TRAIN, limit=config.calibration.limit))


def inputs(name: str, key: str) -> list[Path]:
    """Return the files that a calibration reads, sorted by name: one text file, or all files in a folder.

    Raises:
        DataError: the file does not exist, or the folder is empty.
    """
    path = local_path(name)
    files = sorted(file for file in path.rglob("[!.]*") if file.is_file()) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise DataError(f"{key}={name}: there is no such file, or the folder is empty. Check the path")
    return files


def inputs_sha256(calibration: Calibration) -> list[str]:
    """Return hashes of the calibration inputs, except the data set's own recordings."""
    named = {"audio": calibration.audio, "source": calibration.source}
    return [
        sha256_json([sha256_file(file) for file in inputs(name, f"calibration.{key}")])
        for key, name in named.items()
        if name and not (key == "audio" and name == TRAIN)
    ]
