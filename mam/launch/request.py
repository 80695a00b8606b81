"""The words of a command, checked without torch: jobs, among which there may be a study, and a launcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mam.config.compose import Plan, jobs
from mam.config.job import Job
from mam.config.search import SearchPath
from mam.errors import ConfigError
from mam.launch.settings import Launcher, launcher_of, split_words


@dataclass(frozen=True)
class Request:
    """The checked words of a command: its jobs, one of which may be a study, and the launcher that starts them."""

    plan: Plan
    launcher: Launcher
    multirun: bool

    @property
    def study(self) -> Job | None:
        """The job that is a study, if there is one."""
        return next((job for job in self.plan.jobs if job.config.study.is_plan), None)


def request(words: Sequence[str], multirun: bool, search: SearchPath) -> Request:
    """Check the words of a run, a sweep or a study, and of the launcher.

    Raises:
        ConfigError: A word is wrong, or words do not go together.
    """
    own_words, launcher_words = split_words(words)
    launcher = launcher_of(launcher_words, search)
    asked = Request(jobs(own_words, multirun, search), launcher, multirun)
    if asked.study and multirun:
        raise ConfigError(
            "experiment: a study already has several runs. Leave --multirun out, and set study.axes.* instead"
        )
    if launcher.name != "slurm" and any(not job.config.launch.wait for job in asked.plan.jobs):
        raise ConfigError("launch.wait=false: has no effect without hydra/launcher=slurm. Leave it out")
    if launcher_words and not (asked.study or multirun):
        raise ConfigError(f"{launcher_words[0]}: needs several runs. Add --multirun, or choose an experiment")
    return asked
