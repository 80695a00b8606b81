"""The command that makes one run again, wherever it is typed; that of a member of a study does without the study."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from mam.config.composer import Composer, Job
from mam.config.words import word_of

GROUPS = ("model", "data", "schedule", "layers", "method", "train", "tune")  # whose files a word chooses


def command_of(job: Job) -> str:
    """The command that makes this run again, and no other, quoted for a shell."""
    return shlex.join(["mam", "run", *words_of(job)])


def words_of(job: Job) -> tuple[str, ...]:
    """The words that compose to one run with this very configuration.

    What was said to a study would begin the study: of its members the words are the files of the groups, and what
    differs from those. Where things lie is left to whoever types them.
    """
    if not job.config.study.is_plan:
        return job.words
    default, _ = _made_of(())
    own = _choices(job)
    chosen = tuple(word_of(group, name) for group, name in own.items() if name != default.get(group))
    _, base = _made_of(chosen)
    resolved = _flat(job.resolved)
    changed = [word_of(key, value) for key, value in resolved.items() if key not in base or base[key] != value]
    # A language that was set back to null is left out of what is resolved.
    changed += [f"{key}=null" for key in base if key.endswith(".language") and key not in resolved]
    return (*chosen, *changed, *(["evaluate.dev=true"] if job.config.evaluate.dev else []))


@cache
def _made_of(words: tuple[str, ...]) -> tuple[dict[str, str], dict[str, Any]]:
    """What these words choose of each group, and the resolved configuration that they make."""
    with Composer() as composer:
        config, files = composer.configured(words)
    job = Job(config, words, files)
    return _choices(job), _flat(job.resolved)


def _choices(job: Job) -> dict[str, str]:
    found = job.files.runtime.choices
    return {group: str(found[group]) for group in GROUPS}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted key; a list is a leaf."""
    made: dict[str, Any] = {}
    for key, value in tree.items():
        made |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return made
