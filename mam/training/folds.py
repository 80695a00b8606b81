"""The clips of a training in three disjoint sets: to learn from, to choose the checkpoint on, to report on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mam.config.schema import Config
from mam.data.store import AudioStore
from mam.errors import DataError
from mam.evaluation.workbench import Workbench
from mam.tasks.events import trials
from mam.training.splits import SPLITS, of_split


@dataclass(frozen=True)
class Fold:
    """The clips of one training: it learns from ``train``, chooses a checkpoint on ``dev`` and reports on ``test``."""

    name: str
    train: AudioStore
    dev: AudioStore
    test: AudioStore


def folds(config: Config, bench: Workbench) -> list[Fold]:
    """Return one fold of the data set's splits for speech, one per test fold for audio events.

    The checkpoint for test fold f is chosen on the fold after f.

    Raises:
        DataError: a split or fold without clips, or unusable recordings.
    """
    if config.model.task == "asr":
        train, dev = (bench.audio(of_split(config, split)) for split in SPLITS)
        return [Fold("", train, dev, bench.audio(config))]
    whole = bench.audio(config)
    all_folds = []
    for chosen, tested in zip(trials(of_split(config, "dev"), whole), trials(config, whole), strict=True):
        parts = chosen.train[: config.train.limit], chosen.test[: config.train.dev_limit], tested.test
        all_folds.append(Fold(tested.name, *(whole.subset(part) for part in parts)))
    return all_folds


def classes_of(all_folds: Sequence[Fold]) -> list[str]:
    """Return every class of the training clips, sorted.

    Raises:
        DataError: dev or test of a fold has classes without training clips.
    """
    classes = sorted({label for fold in all_folds for label in fold.train.corpus.column("label")})
    for fold in all_folds:
        taught = set(fold.train.corpus.column("label"))
        untaught = sorted({label for side in (fold.dev, fold.test) for label in side.corpus.column("label")} - taught)
        if untaught:
            raise DataError(
                f"{fold.name}: these classes have no training clips: {', '.join(untaught)}. Raise train.limit."
            )
    return classes
