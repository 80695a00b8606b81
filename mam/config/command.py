"""The command that reproduces one run; for a member of a study, the command works without the study."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from mam.config.composer import Composer
from mam.config.job import Job
from mam.config.search import ONLY_MAMS, SELECTED, SearchPath
from mam.config.words import word_of


def command_of(job: Job) -> str:
    """Return the command that reproduces only this run, quoted for a shell."""
    return shlex.join(["mam", "run", *job.search.words, *words_of(job)])


def words_of(job: Job) -> tuple[str, ...]:
    """Return the words that compose to a single run with this configuration.

    The words of a study would start the study. Its members therefore get the files of the groups, and the keys that
    differ from those. Paths of outputs and caches are left out.
    """
    if not job.config.study.is_plan:
        return job.words
    default, _ = _made_of((), job.search)
    choices = _choices(job)
    chosen = tuple(word_of(group, name) for group, name in choices.items() if name != default.get(group))
    _, base = _made_of(chosen, job.search)
    resolved = flat(job.resolved)
    changed = [word_of(key, value) for key, value in resolved.items() if key not in base or base[key] != value]
    # A language that was reset to null is absent from the resolved configuration.
    changed += [f"{key}=null" for key in base if key.endswith(".language") and key not in resolved]
    evaluate = job.config.evaluate  # what more is measured is not in the resolved configuration, as plug-ins are not
    apart = {"plugins": job.config.plugins, "evaluate.dev": evaluate.dev, "evaluate.by": evaluate.by}
    return (*chosen, *changed, *(word_of(key, value) for key, value in apart.items() if value))


def _made_of(words: tuple[str, ...], search: SearchPath) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the file of each group, and the resolved configuration, for these words."""
    return _composed(words, search) if search.own else _composed_of_mams(words)


@cache
def _composed_of_mams(words: tuple[str, ...]) -> tuple[dict[str, str], dict[str, Any]]:
    return _composed(words, ONLY_MAMS)


def _composed(words: tuple[str, ...], search: SearchPath) -> tuple[dict[str, str], dict[str, Any]]:
    with Composer(search) as composer:
        job = composer.unchecked(words)
    return _choices(job), flat(job.resolved)


def _choices(job: Job) -> dict[str, str]:
    choices = job.files.runtime.choices
    return {group: str(choices[group]) for group in SELECTED}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves by dotted key; a list is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves
