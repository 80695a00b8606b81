"""The splits that a training uses besides the reported one."""

from __future__ import annotations

from dataclasses import replace

from mam.config.schema import Config
from mam.data.corpus import Corpus
from mam.errors import DataError
from mam.evaluation.inputs import Inputs

SPLITS = ("train", "dev")


def of_split(config: Config, split: str) -> Config:
    """Return the same configuration for another split, cut to ``train.limit`` or ``train.dev_limit``."""
    limit = config.train.limit if split == "train" else config.train.dev_limit
    return replace(config, data=replace(config.data, split=split, limit=limit))


def corpora(config: Config, inputs: Inputs) -> list[Corpus]:
    """Return the metadata of the splits used besides the reported one. Raises DataError if a split is missing."""
    if config.model.task == "events":
        return []
    try:
        return [inputs.corpus(of_split(config, split)) for split in SPLITS]
    except DataError as error:
        raise DataError(f"train={config.train.name} needs the splits train and dev: {error}") from error
