"""Any other launcher that is installed for Hydra, such as ``hydra/launcher=ray``: a task for each batch of jobs.

A launcher composes a configuration for each job and calls a function with it, here or on another machine. mam gives it
configurations that hold only the number of a batch, and a function that runs that batch. How jobs ended is read from
their notes in the study's folder, so the machines must share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from mam.config.search import SearchPath
from mam.config.words import quoted
from mam.errors import ConfigError, MamError, first_line
from mam.launch.work import JobBatch, LaunchRequest, run_reporting
from mam.scoring.wording import counted

CONFIG = "mam_task"


@dataclass
class Task:
    """The configuration of one task: the number of its batch."""

    number: int = 0


ConfigStore.instance().store(name=CONFIG, node=Task)


@dataclass(frozen=True)
class RunBatch:
    """The function that a launcher calls with each configuration; it is sent to the machines with all batches."""

    batches: tuple[JobBatch, ...]

    def __call__(self, config: DictConfig) -> None:
        """Run one batch; failures of jobs are noted, not raised."""
        self.batches[config.number]()


def launcher_from(words: Sequence[str], search: SearchPath, folder: Path, batches: Sequence[JobBatch]) -> Launcher:
    """Return Hydra's launcher for these words, ready for `Launcher.launch`.

    Args:
        words: ``hydra/launcher=NAME`` and its keys.
        search: Where the user's own configurations of launchers are.
        folder: The folder of the study, for the launcher's own files.
        batches: What it is to run.

    Raises:
        ConfigError: The launcher cannot be made here.
    """
    fixed = [
        "hydra.job.name=mam",
        "hydra.output_subdir=null",
        f"hydra.sweep.dir={quoted(str(folder.absolute() / 'logs'))}",
        "hydra.sweep.subdir=${hydra.job.num}",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
    ]
    setup_globals()
    loader = ConfigLoaderImpl(search.in_hydra())
    try:
        config = loader.load_configuration(CONFIG, [*words, *fixed], RunMode.MULTIRUN, from_shell=False)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        return Plugins.instance().instantiate_launcher(context, RunBatch(tuple(batches)), config)
    except Exception as error:  # a plug-in of Hydra's may raise anything when it is made
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{words[0]}: cannot be started here ({reason})") from error


def send_by_hydra(errand: LaunchRequest) -> None:
    """Let the launcher run the tasks, and return when it has ended.

    Raises:
        ConfigError: The launcher cannot be made here.
        MamError: It ended, and some jobs left no note.
    """
    launcher = launcher_from(errand.words, errand.search, errand.folder, errand.tasks)
    failed: list[Exception] = []

    def work() -> None:
        try:
            launcher.launch([[f"number={number}"] for number in range(len(errand.tasks))], initial_job_idx=0)
        except Exception as error:  # the launcher's own; jobs do not raise
            failed.append(error)

    run_reporting(work, errand)
    missing: list[Any] = errand.left()
    if missing:
        reason = f" ({type(failed[0]).__name__}: {first_line(failed[0])})" if failed else ""
        raise MamError(
            f"{errand.words[0]}: ended{reason}, but {counted(len(missing), 'job')} left no result in {errand.folder}."
            " The machines that it starts need this folder, mam and your data. Run the same command again for what is"
            " missing."
        )
