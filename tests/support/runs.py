"""Runs in tests: the words that choose them, running one, what it predicted, the command line."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from mam.config import compose, merging
from mam.config.job import Job
from mam.config.schema import Config
from mam.config.words import verbatim
from mam.evaluation.workbench import Workbench
from mam.merging.plan import MergePlan
from mam.runs.question import RunOutcome
from mam.runs.run import run
from mam.runs.shapes import with_shapes
from mam.small_files import read_jsonl
from support.models import HEADS, LAYERS, SOURCE_LAYERS, WIDTH
from support.warm import program

QUICK = ["train.steps=6", "train.evaluate_every=2", "train.log_every=1", "train.batch_size=4"]


def jobs(words: list[str], multirun: bool = False) -> list[Job]:
    """The jobs that words make."""
    return compose.jobs(words, multirun).jobs


def by_hydra(words: Sequence[str]) -> DictConfig:
    """What Hydra alone composes of words, with its own node."""
    GlobalHydra.instance().clear()
    with initialize_config_module("mam.conf", version_base="1.3"):
        return hydra.compose("config", [verbatim(word) for word in words], return_hydra_config=True)


def plan_of(config: Config, draw: int = 0) -> MergePlan:
    """The merge that a configuration with shapes asks for."""
    return merging.plan_of(config).drawn(draw)


def pair_words(target: Path, source: Path, source_heads: int = HEADS) -> list[str]:
    """The command-line words that choose a tiny pair."""
    return [
        f"model.target={target}",
        f"model.source={source}",
        *(f"model.{side}_shape.width={WIDTH}" for side in ("target", "source")),
        f"model.target_shape.layers={LAYERS}",
        f"model.source_shape.layers={SOURCE_LAYERS}",
        f"model.target_shape.heads={HEADS}",
        f"model.source_shape.heads={source_heads}",
    ]


def data_words(root: Path) -> list[str]:
    """The command-line words that choose a folder of clips as a whole."""
    return ["data=audiofolder", f"data.root={root}", "data.split=all"]


def once(words: list[str], bench: Workbench | None = None) -> RunOutcome:
    """Run one job; shapes that its words leave out are read from the checkpoints."""
    (job,) = with_shapes(jobs(words))
    return run(job, bench or Workbench())


def predictions(outcome: RunOutcome, name: str = "predictions.jsonl") -> list[str]:
    """The texts that a run predicted, in order."""
    return [row["prediction"] for row in read_jsonl(outcome.folder / name)]


def mam(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, on one core."""
    return program(words, **environment)


def problems_in(errors: str) -> list[str]:
    """The lines of standard error but those on what `mam run` does: the command, and then every 30 seconds."""
    return [line for line in errors.splitlines() if not re.match(r"mam run |\d+:\d\d ", line)]
