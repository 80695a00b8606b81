"""From the words of a command line to the jobs of a run or a sweep; all problems are reported together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override

from mam.config.composer import Composer
from mam.config.job import Job
from mam.config.merging import idle_lam_problems, without_idle_alignment, without_idle_words
from mam.config.override_checks import values_of
from mam.config.schema import Config
from mam.config.search import ONLY_MAMS, SearchPath
from mam.config.study import MOST_RUNS
from mam.errors import ConfigError

CONTROLS_OF_SWEEPS = ("none", "shrink")  # the controls of a sweep without any in its words


@dataclass(frozen=True)
class Plan:
    """The jobs of a command line; ``adds_baseline`` means that λ=0 was added to a sweep over λ."""

    jobs: list[Job]
    adds_baseline: bool = False


def jobs(words: Sequence[str], multirun: bool = False, search: SearchPath = ONLY_MAMS) -> Plan:
    """Compose and check one job or, with ``multirun``, one for each combination of comma-separated values.

    A sweep adds `shrink` to every merge, unless its words name the controls. A control at λ=0 repeats the baseline and
    is left out. A sweep over λ includes λ=0, and evaluates on dev as well as on test.

    Raises:
        ConfigError: A word is wrong or a check fails; all problems are listed.
    """
    with Composer(search) as composer:
        composer.load_plugins(words)
        overrides, problems = composer.parsed(words, multirun)
        values = {override.key_or_group: list(_expand(word, override)) for word, override in overrides}
        adds_baseline = False
        if multirun:
            values.setdefault("control", [f"control={name}" for name in CONTROLS_OF_SWEEPS])
            adds_baseline = _lacks_baseline(overrides)
            if adds_baseline:
                values["lam"].insert(0, "lam=0")
        has_controls = len(values.get("control", ())) > 1
        runs: list[Job] = []
        counts = [len(listed) for listed in values.values()]
        if max(counts, default=1) > 1:
            most = [word for word in words if word.startswith("launch.max_runs=")]
            refuse_too_many(counts, composer.unchecked(most).config)
        for combination in itertools.product(*values.values()):
            job_words = without_idle_words(combination) if multirun else combination
            job_words = without_idle_alignment(job_words) if has_controls else job_words
            try:
                job = composer.job(job_words)
                if job.config.tune.name != "none" and "lam" in values:
                    raise ConfigError(f"lam: has no effect, since tune={job.config.tune.name} chooses λ. Leave lam out")
                if multirun and "evaluate.dev" not in values and _may_choose(job.config):
                    job = composer.job((*job_words, "evaluate.dev=true"))
            except ConfigError as error:
                problems += [problem for problem in error.problems if problem not in problems]
                continue
            if not (multirun and job.is_empty_control):
                runs.append(job)
        if len({tuple(job.config.plugins) for job in runs}) > 1:
            problems.append(
                "plugins: the runs of this sweep have different plug-ins. Name all of them in plugins=[...]"
            )
        if problems:
            raise ConfigError(problems)
        return Plan(distinct(runs), adds_baseline)


def refuse_too_many(counts: Iterable[int], config: Config) -> None:
    """Raise ConfigError if the combinations of as many values of each key are more than ``launch.max_runs``."""
    runs = math.prod(counts)
    most = config.launch.max_runs
    if runs > most:
        remedy = f"If that is intended, set launch.max_runs={runs}" if runs <= MOST_RUNS else "Use fewer values"
        raise ConfigError(f"{runs:,} runs are more than launch.max_runs={most}. {remedy}")


def _lacks_baseline(overrides: Sequence[tuple[str, Override]]) -> bool:
    """Return whether a sweep varies λ without the value 0; if λ is learnt, 0 is only a starting point."""
    by_key = {override.key_or_group: override for _, override in overrides}
    if "lmam" in map(str, _values(by_key.get("train"))):
        return False
    lams = _values(by_key.get("lam"))
    sums = [sum(lam) if isinstance(lam, list) else float(lam) for lam in lams]
    return len(set(map(str, lams))) > 1 and 0 not in sums


def _values(override: Override | None) -> list[Any]:
    return [] if override is None else values_of(override)


def _may_choose(config: Config) -> bool:
    """Return whether the rate on dev may be used to choose this run among others."""
    is_plain = config.train.name == config.tune.name == "none" == config.control
    return is_plain and config.data.split in ("test", "not_dev")


def distinct(made: Sequence[Job]) -> list[Job]:
    """Return the jobs without repetitions of the same run.

    Raises:
        ConfigError: There is no run, or the runs differ in a ``lam`` that they do not read.
    """
    if not made:
        raise ConfigError(
            "there is nothing to run: a list of values is empty, or the only runs are controls at λ=0, which equal"
            " the baseline"
        )
    problems = idle_lam_problems([job.config for job in made])
    if problems:
        raise ConfigError(problems)
    return list({(job.signature, job.config.outputs): job for job in made}.values())


def _expand(word: str, override: Override) -> Iterator[str]:
    """Yield the word itself, or one word for each value of a sweep."""
    if not override.is_sweep_override():
        yield word
        return
    for value in override.sweep_string_iterator():
        yield f"{override.get_key_element()}={value}"
