"""Sending results and pictures of finished runs to the trackers in ``track=``: TensorBoard, Weights & Biases, MLflow.

MLflow and W&B take their destination from their own environment variables (``MLFLOW_TRACKING_URI``, ``WANDB_MODE`` and
so on). TensorBoard's files go to ``tensorboard/`` beside the run folders of a day.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mam.errors import MamError, first_line
from mam.records.result import RunResult, plain
from mam.report.runs import Run

Send = Callable[[Run, Mapping[str, float], list[Path]], None]
PROJECT = "mam"


def numbers(result: RunResult) -> dict[str, float]:
    """Return metrics, baseline, difference, interval and times of a run as flat numbers."""
    values: dict[str, float] = {}
    for part in ("metrics", "baseline", "delta", "timing"):
        for key, value in plain(getattr(result, part)).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values[f"{part}/{key}"] = float(value)
    if result.delta.ci95 is not None:
        values["delta/ci95_low"], values["delta/ci95_high"] = result.delta.ci95
    return values


def track(folder: Path, result: RunResult, trackers: Sequence[str], more: Sequence[Path] = ()) -> None:
    """Send one finished run with its pictures, and the pictures in ``more``, to each tracker.

    Raises:
        MamError: a tracker failed. The run itself stays finished.
    """
    run, pictures = Run(folder, result), [*sorted(folder.glob("*.png")), *more]
    for name in trackers:
        try:
            SENDERS[name](run, numbers(result), pictures)
        except Exception as error:  # each tracker has its own kinds of errors
            raise MamError(
                f"track={name}: {first_line(error)}. The run is finished in {folder}; correct the tracker's settings"
                " and run the same command with force=true, or leave track out."
            ) from error


def _mlflow(run: Run, values: Mapping[str, float], pictures: list[Path]) -> None:
    import mlflow

    mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=run.folder.name):
        mlflow.log_params({key.replace(" ", "_"): value for key, value in run.traits.items()})
        mlflow.log_params({"data": run.result.data.name, "hash": run.result.hash})
        mlflow.log_metrics(dict(values))
        mlflow.set_tag("command", run.result.command)
        for path in (run.folder / "result.json", *pictures):
            mlflow.log_artifact(str(path))


def _tensorboard(run: Run, values: Mapping[str, float], pictures: list[Path]) -> None:
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    board = run.folder.parents[1] / "tensorboard" / run.folder.name
    with SummaryWriter(str(board)) as writer:
        for key, value in values.items():
            writer.add_scalar(key, value)
        writer.add_text("command", run.result.command)
        for path in pictures:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer.add_image(path.stem, pixels, dataformats="HWC")


def _wandb(run: Run, values: Mapping[str, float], pictures: list[Path]) -> None:
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    with wandb.init(project=PROJECT, name=run.folder.name, config=dict(run.traits)) as session:
        session.log(dict(values) | {path.stem: wandb.Image(str(path)) for path in pictures})


SENDERS: dict[str, Send] = {"mlflow": _mlflow, "tensorboard": _tensorboard, "wandb": _wandb}
