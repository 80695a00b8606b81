"""The choice of λ on dev."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Le, Lt
from typing_extensions import Doc

from mam.merging.schedules import SCHEDULES
from mam.scoring.bounds import OneOf

if TYPE_CHECKING:
    from mam.config.schema import Config


@dataclass(frozen=True)
class TunerTraits:
    """The traits of a search for λ: the keys of ``tune`` that it reads, and whether it chooses a λ for every layer.

    A search that ``is_sequential`` proposes the next λ from earlier rates, so that it needs a single process.
    """

    summary: str
    reads: tuple[str, ...] = ()
    is_per_layer: bool = False
    is_sequential: bool = False


_SEARCHED = ("low", "high", "evaluations")
TUNINGS: dict[str, TunerTraits] = {
    "none": TunerTraits("lam as given."),
    "grid": TunerTraits("All of tune.values, each on all of dev.", ("values",)),
    "race": TunerTraits(
        "tune.values on growing parts of dev; values that are clearly worse are dropped.", ("values", "looks", "alpha")
    ),
    "golden": TunerTraits(
        "Golden-section search between tune.low and tune.high, for an error rate with a single minimum.", _SEARCHED
    ),
    "optuna": TunerTraits(
        "Optuna's tree-structured Parzen estimator between tune.low and tune.high.", _SEARCHED, is_sequential=True
    ),
    "cmaes": TunerTraits("One λ per layer, by CMA-ES.", (*_SEARCHED, "start"), True, True),
    "entropy": TunerTraits(
        "One λ per layer, with the least entropy of the outputs; needs no labels.",
        ("low", "high", "start", "epochs", "learning_rate", "audio"),
        True,
        True,
    ),
    "agreement": TunerTraits(
        "The one of tune.values whose transcripts agree most with those of its neighbours; needs no labels.",
        ("values", "audio"),
    ),
}


@dataclass
class TuneConfig:
    """The choice of λ on dev, before the run reports on test; ``none`` takes ``lam`` as given.

    ``values`` are tried by grid, race and agreement. golden, optuna and cmaes make ``evaluations`` between ``low`` and
    ``high``. A race looks at its values ``looks`` times and drops the best of them with a probability of at most
    ``alpha``. cmaes and entropy choose a λ for every layer, beginning at ``start``. entropy makes ``epochs`` passes
    over ``audio`` (dev, or test, which makes it transductive) with ``learning_rate``; agreement reads ``audio`` too.
    """

    name: Annotated[str, OneOf(TUNINGS), Doc("how λ is chosen on dev; none: lam is used as given")] = "none"
    values: Annotated[list[float], Doc("values of λ to try (grid, race, agreement)")] = field(default_factory=list)
    low: Annotated[float, Ge(-1e6), Le(1e6), Doc("smallest λ to try")] = 0.0
    high: Annotated[float, Ge(-1e6), Le(1e6), Doc("largest λ to try")] = 0.5
    evaluations: Annotated[
        int, Ge(3), Le(10_000), Doc("number of evaluations on all of dev (golden, optuna, cmaes)")
    ] = 12
    looks: Annotated[
        int, Ge(1), Le(20), Doc("rounds of a race: the first uses a sixteenth of dev, each further one twice as much")
    ] = 5
    alpha: Annotated[float, Gt(0), Lt(1), Doc("maximum probability that a race drops the best value")] = 0.05
    start: Annotated[float, Ge(-1e6), Le(1e6), Doc("initial λ of every layer (cmaes, entropy)")] = 0.05
    epochs: Annotated[int, Ge(1), Le(10_000), Doc("number of passes over the recordings (entropy)")] = 5
    learning_rate: Annotated[float, Gt(0), Le(1), Doc("learning rate of λ (entropy)")] = 0.01
    audio: Annotated[
        str,
        OneOf(("dev", "test")),
        Doc("recordings to use (entropy, agreement): dev, or test (which is recorded as transductive)"),
    ] = "dev"


def tuning_problems(config: Config) -> Iterator[str]:
    """Yield options that conflict with a choice of λ, or have no effect without one."""
    tune, traits = config.tune, TUNINGS[config.tune.name]
    yield from _idle_keys(tune)
    if tune.name == "none":
        return
    is_grid = "values" in traits.reads
    if is_grid and (len(set(tune.values)) < 2 or not all(0 <= lam <= 1 for lam in tune.values)):
        yield f"tune.values={tune.values}: must be two or more different λ from 0 to 1"
    if not 0 <= tune.low < tune.high <= 1:
        yield f"tune.low={tune.low:g}, tune.high={tune.high:g}: low must be below high, and both from 0 to 1"
    if traits.is_per_layer and not tune.low <= tune.start <= tune.high:
        yield f"tune.start={tune.start:g}: must be from tune.low={tune.low:g} to tune.high={tune.high:g}"
    if traits.is_per_layer and config.schedule.name != "constant":
        yield f"schedule={config.schedule.name}: tune={tune.name} chooses the λ of every layer. Leave schedule out"
    elif SCHEDULES[config.schedule.name].is_absolute:
        yield (
            f"schedule={config.schedule.name}: sets λ itself, so tune={tune.name} cannot choose it. Leave one of them"
            " out"
        )
    if tune.name == "entropy":
        yield from _entropy_problems(config)
    if tune.name == "agreement":
        if config.model.task == "events":
            yield "tune=agreement: compares transcripts, which audio events do not have. Set tune=grid"
        lams = sorted({lam for lam in tune.values if lam > 0})
        steps = [other - one for one, other in pairwise(lams)]
        if len(lams) < 3 or max(steps) - min(steps) > 1e-6:
            yield f"tune.values={tune.values}: agreement needs three or more equally spaced λ above 0"
    if tune.name == "race" and config.model.task == "events":
        yield "tune=race: cannot be used for audio events, which are scored on whole folds. Set tune=grid"
    if config.train.name != "none":
        yield f"tune={tune.name}: cannot be used with a training. Leave tune out, or learn λ with train=lmam"
    if config.data.split not in ("test", "not_dev"):
        yield (
            f"data.split={config.data.split}: λ is chosen on dev, so results must be on other data. Set"
            " data.split=test or not_dev"
        )
    if config.evaluate.dev:
        yield "evaluate.dev: has no effect with tune, which always evaluates on dev. Leave it out"


def _idle_keys(tune: TuneConfig) -> Iterator[str]:
    defaults = TuneConfig()
    for key in (option.name for option in fields(TuneConfig) if option.name != "name"):
        readers = [name for name, traits in TUNINGS.items() if key in traits.reads]
        if tune.name not in readers and getattr(tune, key) != getattr(defaults, key):
            yield f"tune.{key}: has no effect without tune={' or '.join(readers)}"


def _entropy_problems(config: Config) -> Iterator[str]:
    if config.method.name != "linear":
        yield f"method={config.method.name}: tune=entropy works only with method=linear. Set tune=cmaes"
    if config.model.task == "events":
        yield (
            "tune=entropy: needs the outputs of a speech recogniser; audio events have none before a probe is fitted."
            " Set tune=grid"
        )
