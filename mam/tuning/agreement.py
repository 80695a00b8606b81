"""Choosing λ without labels: the value whose transcripts agree most with those of its neighbours on the grid.

AdaMMS (Du et al., "AdaMMS: model merging for heterogeneous multimodal large language models with unsupervised
coefficients optimization", CVPR 2025, arXiv 2503.23733) chooses among coefficients the one whose outputs differ least
from those of the next ones. The difference of two recognisers is taken in word errors here. λ=0 is no candidate,
and the values must have equal distances, since the smaller a step of λ, the better the two agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mam.config.schema import Config
from mam.errors import DataError
from mam.records.learning import ChosenLam, TriedLam, TuneRecord
from mam.records.reading import PredictionRow
from mam.tasks import TASKS
from mam.tuning.dev import TRANSDUCTIVE, Choice, Dev
from mam.tuning.known import Known

SILENCED = 0.1  # largest share of transcripts that an eligible λ may leave empty where the unmerged target's is not


@dataclass(frozen=True)
class Agreement:
    """Distance of one λ from its neighbours (mean share of words that differ), and the share of empty transcripts."""

    disagreement: float
    silenced: float


def most_agreeing(found: Mapping[float, Agreement]) -> float:
    """Return the λ with the least disagreement among those that silence little, or 0 if all silence much.

    Ties go to the smallest λ.
    """
    eligible = {lam: one for lam, one in found.items() if one.silenced <= SILENCED}
    return min(eligible, key=lambda lam: (eligible[lam].disagreement, lam), default=0.0)


def by_agreement(config: Config, dev: Dev, known: Known) -> Choice:
    """Choose among the positive ``tune.values``; labels are not read.

    Args:
        config: the configuration of the run.
        dev: the recordings to use.
        known: what a search that was killed has computed.
    """
    lams = sorted({lam for lam in config.tune.values if lam > 0})
    texts: dict[float, list[list[PredictionRow]]] = {}

    def rows(lam: float) -> list[list[PredictionRow]]:
        if lam not in texts:
            texts[lam] = dev.rows(lam)
        return texts[lam]

    def between(one: float, other: float) -> float:
        (value,) = known.numbers(f"{one:g} and {other:g}", 1, lambda: [_difference(config, rows(one), rows(other))])
        return value

    def silenced(lam: float) -> float:
        (value,) = known.numbers(f"{lam:g} silenced", 1, lambda: [_silenced(rows(0.0)[0], rows(lam))])
        return value

    steps = [between(one, other) for one, other in pairwise(lams)]
    found = {
        lam: Agreement(sum(near) / len(near), silenced(lam))
        for lam, near in ((lam, steps[max(0, i - 1) : i + 1]) for i, lam in enumerate(lams))
    }
    chosen = most_agreeing(found)
    tried = [
        TriedLam(None, lam, None, silenced=one.silenced, disagreement=one.disagreement) for lam, one in found.items()
    ]
    on_test = config.tune.audio == "test"
    notes = [TRANSDUCTIVE] if on_test else []
    lost = sum(one.silenced > SILENCED for one in found.values())
    if lost:
        notes.append(
            f"agreement: with {lost} of {len(found)} λ, more than {100 * SILENCED:.0f} % of the transcripts became"
            f" empty; these λ were excluded{'' if chosen else ', so nothing is merged'}"
        )
    return Choice({"": chosen}, TuneRecord("agreement", [ChosenLam(None, chosen)], tried, 1.0, [], on_test), notes)


def _difference(config: Config, one: Sequence[list[PredictionRow]], other: Sequence[list[PredictionRow]]) -> float:
    """Return the word errors between transcripts over the mean number of words, averaged over draws."""
    return sum(_of_draw(config, *pair) for pair in zip(one, other, strict=True)) / len(one)


def _of_draw(config: Config, one: Sequence[PredictionRow], other: Sequence[PredictionRow]) -> float:
    errors, words = 0.0, 0.0
    for first, second in ((one, other), (other, one)):
        rows: list[PredictionRow] = [
            {**row, "reference": reference["prediction"]} for row, reference in zip(second, first, strict=True)
        ]
        try:
            counted = TASKS[config.model.task].counted(config, rows)
        except DataError:  # no word is in any of them
            errors += float(any(row["prediction"].strip() for row in rows))
            continue
        errors += float(counted.errors.sum())
        words += float(counted.lengths.sum())
    return min(1.0, errors / words) if words else float(errors > 0)


def _silenced(unmerged: Sequence[PredictionRow], draws: Sequence[Sequence[PredictionRow]]) -> float:
    """Return the share of transcripts that are empty where the unmerged target's is not, over all draws."""
    spoken = [i for i, row in enumerate(unmerged) if row["prediction"].strip()]
    empty = sum(not rows[i]["prediction"].strip() for rows in draws for i in spoken)
    return empty / max(1, len(spoken) * len(draws))
