"""The launcher chosen on the command line, and its settings as composed by Hydra."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mam.config.composer import Composer
from mam.config.search import ONLY_MAMS, SearchPath
from mam.errors import ConfigError, choices, first_line

LAUNCHERS = ("basic", "joblib", "slurm")  # mam's own; basic: one after the other, in this process
SWEEPER = "hydra/sweeper=optuna"  # another spelling of tune=optuna
PLUGIN = "hydra_plugins.hydra_submitit_launcher"


@dataclass(frozen=True)
class Launcher:
    """The chosen launcher and its keys, as Hydra composed them."""

    name: str
    settings: dict[str, Any]
    words: tuple[str, ...] = ()


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of the run and the words of the launcher. Hydra's Optuna sweeper becomes ``tune=optuna``."""
    own = ("hydra/launcher=", "hydra.launcher.")
    run = ["tune=optuna" if word == SWEEPER else word for word in words if not word.startswith(own)]
    return run, [word for word in words if word.startswith(own)]


def launcher_of(words: Sequence[str], search: SearchPath = ONLY_MAMS) -> Launcher:
    """Return the launcher set by ``hydra/launcher=`` and ``hydra.launcher.*``, checked against this machine.

    Raises:
        ConfigError: an unknown launcher or key, one that is not installed, or no Slurm on this machine.
    """
    chosen = next((word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")), "basic")
    if chosen == "basic":
        if words:
            raise ConfigError(f"{words[0]}: has no effect without hydra/launcher=joblib or slurm")
        return Launcher(chosen, {})
    if chosen == "slurm" and (find_spec("submitit") is None or find_spec(PLUGIN) is None):
        raise ConfigError("hydra/launcher=slurm: is not installed. Install it: pip install 'mam-bench[slurm]'")
    try:
        with Composer(search) as composer:
            installed = composer.loader.get_group_options("hydra/launcher")
            if chosen not in installed:
                raise ConfigError(
                    f"hydra/launcher={chosen}: is not installed. Choose one of: {choices(installed)}, or install"
                    " the Hydra plug-in that provides it"
                )
            composed = composer.composed(words)
        settings = OmegaConf.to_container(composed.hydra.launcher, resolve=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"hydra/launcher={chosen}: {first_line(error)}") from error
    assert isinstance(settings, dict)
    kept = {str(key): value for key, value in settings.items() if key not in ("_target_", "submitit_folder")}
    if chosen == "joblib":
        jobs = kept.get("n_jobs")
        if not isinstance(jobs, int) or not 1 <= jobs <= 1024:
            raise ConfigError(f"hydra.launcher.n_jobs={jobs}: must be a number from 1 to 1 024")
    elif chosen == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError(
            "hydra/launcher=slurm: there is no Slurm on this machine (no sbatch on the PATH). Use a login node, or"
            " set hydra/launcher=joblib."
        )
    return Launcher(chosen, kept, tuple(words))


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
