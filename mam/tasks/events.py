"""Audio events: a prediction is a class, its score the classification error.

``head=`` selects one of three protocols. `probe_fixed` fits a linear probe on the unmerged target's features and keeps
it, to show the effect of merging alone. `probe_refit` fits the probe again on the merged target's features.
`checkpoint` uses the checkpoint's own head. A probe is never fitted on the clips that it is tested on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mam.config.schema import Config
from mam.data.esc50 import audioset_names
from mam.data.store import AudioStore
from mam.errors import DataError, choices
from mam.models.heads import Features, fit_probe
from mam.models.readout import Readout
from mam.records.parts import Delta, FoldsDifference, HeadRecord, McNemarRecord, Metric, ProbeRecord, SoundBaseline
from mam.records.reading import PredictionRow
from mam.scoring.error_rate import confusion, error_rates, mistakes
from mam.scoring.seeds import paired_t
from mam.scoring.significance import exact_mcnemar
from mam.tasks.task import ErrorCounts, Judgement, Scores, paired, units_of, with_columns

COLLAPSED = 0.9  # share of clips predicted as one class
GIVEN_PROBES = "the interval treats the probes as fixed; only the comparison over folds includes their variation"


@dataclass(frozen=True)
class Trial:
    """One test: the positions in the corpus that are tested, and those on which its probe is fitted.

    ``name`` is the tested fold.
    """

    name: str
    train: list[int]
    test: list[int]


def metric(config: Config) -> Metric:
    """Return ``error``, the share of clips with a wrong class."""
    return "error"


def readout(config: Config) -> Readout:
    """Return ``scores`` for the checkpoint's own classes, ``features`` for a probe."""
    return "scores" if config.head == "checkpoint" else "features"


def check(config: Config, audio: AudioStore, labels: list[str] | None) -> None:
    """Check that every clip can be tested.

    Raises:
        DataError: A fold or split has no clips, training lacks a tested class, or the checkpoint has none of the
            classes.
    """
    if labels is not None:
        own_classes(labels, sorted(set(audio.corpus.column("label"))))
        return
    truth = audio.corpus.column("label")
    for trial in trials(config, audio):
        unknown = sorted({truth[i] for i in trial.test} - {truth[i] for i in trial.train})
        if unknown:
            raise DataError(
                f"{trial.name}: some tested classes do not occur in its {len(trial.train)} training clips:"
                f" {choices(unknown)}. Raise data.limit, or remove these classes."
            )


def judge(
    config: Config, audio: AudioStore, merged: Sequence[Any], baseline: Sequence[Any], labels: list[str] | None
) -> Judgement:
    """Predict classes and their five best scores, trial by trial; raises the errors of `check`."""
    new, old = np.stack(merged), np.stack(baseline)
    if labels is not None:
        return _by_own_head(config, audio, new, old, labels)
    truth = audio.corpus.column("label")
    fitted_on = old if config.head == "probe_fixed" else new
    rows: tuple[list[PredictionRow], list[PredictionRow]] = ([], [])
    folds: list[ProbeRecord] = []
    unfinished = 0
    for trial in trials(config, audio):
        train_labels = [truth[i] for i in trial.train]
        groups = _groups(audio, trial.train)
        probes = [fit_probe(features[trial.train], train_labels, groups) for features in (fitted_on, old)]
        for side, probe, features in zip(rows, probes, (new, old), strict=True):
            side += lines(config, audio.subset(trial.test), list(probe.scores(features[trial.test])), probe.classes)
        unfinished += not all(probe.is_converged for probe in probes)
        folds.append(ProbeRecord(trial.name, len(trial.train), len(trial.test), probes[0].strength))
    notes = (
        [f"the fit of the probe did not converge in {unfinished} of {len(folds)} tests, so errors may be too high"]
        if unfinished
        else []
    )
    return Judgement(*rows, HeadRecord("probe_refit" if config.head == "probe_refit" else "probe_fixed", folds), notes)


def trials(config: Config, audio: AudioStore) -> list[Trial]:
    """List the tests, each with the clips for its probe.

    With folds, ``data.split=test`` tests each fold f on a probe of all others. ``dev`` serves to choose λ for fold f:
    it tests the next fold on a probe of the remaining ones, so that neither contains f. Without folds, the split itself
    is tested on a probe of ``train``.
    """
    data, folds = config.data, audio.corpus.column("fold")
    if folds[0] is None:
        return [_split_trial(config, audio)]
    present = sorted(set(folds))
    fold_names = choices([str(fold) for fold in present])
    if len(present) < (3 if data.split == "dev" else 2):
        raise DataError(
            f"data={data.name}: has clips only in fold {fold_names}, but the probe must be fitted on other folds."
            " Add folds."
        )
    if data.fold not in (None, *present):
        raise DataError(f"data.fold={data.fold}: has no clips. Choose one of: {fold_names}.")
    tests = []
    for fold, following in zip(present, [*present[1:], present[0]], strict=True):
        if data.fold in (None, fold):
            tested = following if data.split == "dev" else fold
            name = f"fold {fold}" + (f", dev fold {tested}" if data.split == "dev" else "")
            train = [i for i, other in enumerate(folds) if other not in (fold, tested)]
            test = [i for i, other in enumerate(folds) if other == tested]
            tests.append(Trial(name, train, test))
    return tests


def _split_trial(config: Config, audio: AudioStore) -> Trial:
    data, splits = config.data, audio.corpus.column("split")
    if data.fold is not None:
        raise DataError(f"data.fold={data.fold}: data={data.name} has no folds. Leave it out.")
    train, test = ([i for i, other in enumerate(splits) if other == split] for split in ("train", data.split))
    for split, positions in (("train", train), (data.split, test)):
        if not positions:
            present = choices(sorted({str(other) for other in splits}))
            raise DataError(f"data={data.name}: has no clips in split {split!r}, only in: {present}.")
    return Trial(data.split, train, test)


def counted(config: Config, rows: Sequence[PredictionRow]) -> ErrorCounts:
    """Count one error or none for every clip."""
    wrong = mistakes([row["label"] for row in rows], [row["prediction"] for row in rows])
    return ErrorCounts(wrong, np.ones_like(wrong), *units_of(config, rows, "clip"))


def score(config: Config, merged: Sequence[Sequence[PredictionRow]], baseline: Sequence[PredictionRow]) -> Scores:
    """Compute the error of both sides and compare them by the sign-flip test over clips or clusters.

    McNemar's exact test is added for a single merge whose units are clusters; over clips it equals the sign-flip test.
    The mean difference over folds is added if a probe was fitted.
    """
    old = counted(config, baseline)
    pooled = [row for rows in merged for row in rows]
    sides = [counted(config, rows) for rows in merged]
    new = np.stack([side.errors for side in sides])  # [draws, n]
    difference = paired(config, sides, [old])
    labels = Counter(row["label"] for row in pooled)
    guess, times = Counter(row["prediction"] for row in pooled).most_common(1)[0]
    is_collapsed = times > COLLAPSED * len(pooled) and labels[guess] < COLLAPSED * len(pooled)
    findings = [f"collapsed: {times} of {len(pooled)} clips are classified as {guess!r}"] if is_collapsed else []
    folds = [row["fold"] for row in pooled]
    rates = error_rates(new.reshape(-1), folds), error_rates(old.errors, folds[: len(baseline)])
    has_probes = config.head != "checkpoint"
    over_folds = _over_folds(rates[0].fold_errors, rates[1].fold_errors) if has_probes else None
    if over_folds and (config.head == "probe_refit" or config.train.name != "none"):
        findings.append(GIVEN_PROBES)
    mcnemar = _mcnemar(new[0], old.errors) if len(merged) == 1 and old.clusters is not None else None
    delta = Delta(**asdict(difference), over_folds=over_folds, mcnemar=mcnemar)
    return Scores(rates[0], SoundBaseline(**asdict(rates[1])), delta, findings, sides, old)


def _mcnemar(merged: NDArray[np.int64], baseline: NDArray[np.int64]) -> McNemarRecord:
    return McNemarRecord(
        exact_mcnemar(merged, baseline),
        int(np.count_nonzero(merged > baseline)),
        int(np.count_nonzero(merged < baseline)),
        "exact; assumes that clips are independent, although clips from the same cluster are not",
    )


def _over_folds(merged: Sequence[float], baseline: Sequence[float]) -> FoldsDifference | None:
    """Compare the errors of each fold by Student's t; None below two folds."""
    if len(merged) < 2:
        return None
    mean, ci95, p_value = paired_t([new - old for new, old in zip(merged, baseline, strict=True)])
    return FoldsDifference(len(merged), mean, ci95, p_value)


def tables(merged: Sequence[PredictionRow], baseline: Sequence[PredictionRow]) -> dict[str, list[list[Any]]]:
    """Build ``confusion`` and ``confusion-baseline`` (rows: the truth), and ``classes`` with both errors of each class.

    ``merged`` may contain several draws of each clip; ``classes`` then has their mean.
    """
    labels = [row["label"] for row in baseline]
    draws = len(merged) // len(baseline)
    sides = {"confusion": merged, "confusion-baseline": baseline}
    matrices: dict[str, list[list[Any]]] = {}
    for name, rows in sides.items():
        classes, counts = confusion([row["label"] for row in rows], [row["prediction"] for row in rows])
        matrices[name] = [
            ["label", *classes],
            *([label, *row] for label, row in zip(classes, counts.tolist(), strict=True)),
        ]
    by_class: list[list[Any]] = [["label", "clips", "errors", "errors_baseline", "error", "error_baseline"]]
    for label in sorted(set(labels)):
        new, old = (sum(row["prediction"] != label for row in rows if row["label"] == label) for rows in sides.values())
        n = labels.count(label)
        mean = new // draws if new % draws == 0 else new / draws
        by_class.append([label, n, mean, old, round(mean / n, 6), round(old / n, 6)])
    return matrices | {"classes": by_class}


def _by_own_head(config: Config, audio: AudioStore, new: Features, old: Features, labels: list[str]) -> Judgement:
    data = config.data
    truth, folds, splits = (audio.corpus.column(name) for name in ("label", "fold", "split"))
    places = own_classes(labels, sorted(set(truth)))
    classes = [name for name, positions in places.items() if positions]
    missing = [name for name, positions in places.items() if not positions]
    if folds[0] is not None:
        selected = [i for i, fold in enumerate(folds) if data.fold in (None, fold)]
    else:
        selected = [i for i, split in enumerate(splits) if data.split in ("all", split)]
    tested = [i for i in selected if truth[i] in classes]
    if not tested:
        raise DataError(f"data={config.data.name}: has no clips of the classes that the checkpoint can recognise.")
    sides = []
    for scores in (new, old):
        # If several labels match a class, its probability is that of the best.
        class_scores = np.stack([scores[tested][:, places[name]].max(1) for name in classes], axis=1)
        sides.append(lines(config, audio.subset(tested), list(class_scores), classes))
    notes = []
    if missing:
        notes.append(
            f"the checkpoint has no class for {choices(missing)} (clips left out: {len(selected) - len(tested)})"
        )
    return Judgement(sides[0], sides[1], HeadRecord("checkpoint", [], missing), notes)


def own_classes(labels: Sequence[str], classes: Sequence[str]) -> dict[str, list[int]]:
    """Match each class of the data with the checkpoint's labels, by name or by the AudioSet table.

    Raises:
        DataError: None of the classes is among the labels.
    """
    positions = {label: i for i, label in enumerate(labels)}
    table = audioset_names()
    places = {}
    for name in classes:
        aliases = (name,) if name in positions else table.get(name, ())
        places[name] = [positions[alias] for alias in aliases if alias in positions]
    if not any(places.values()):
        raise DataError(
            f"head=checkpoint: none of the classes {choices(list(classes)[:5])} is among the checkpoint's"
            f" {len(labels)} ({choices(list(labels)[:5])}, ...). Set head=probe_fixed."
        )
    return places


def lines(config: Config, audio: AudioStore, items: Sequence[Any], classes: Sequence[str]) -> list[PredictionRow]:
    """Build a row for every clip of ``audio``; ``items`` are the scores of ``classes``."""
    rows = []
    for example, row_scores in zip(audio.corpus.examples, items, strict=True):
        best = np.argsort(-row_scores, kind="stable")[:5]
        row: PredictionRow = {
            "id": example["id"],
            "audio": example["audio"],
            "fold": config.data.split if example["fold"] is None else example["fold"],
            "label": example["label"],
            "prediction": classes[best[0]],
            "scores_top5": {classes[i]: round(float(row_scores[i]), 6) for i in best},
        }
        rows.append(with_columns(config, row, example))
    return rows


def _groups(audio: AudioStore, positions: Sequence[int]) -> list[Any]:
    """Return groups that must stay together in training: folds, else the origins of clips, else single clips."""
    for column in ("fold", "origin"):
        values = audio.corpus.column(column)
        groups = [values[i] for i in positions]
        if None not in groups and len(set(groups)) > 1:
            return groups
    return list(positions)
