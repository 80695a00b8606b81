"""MLflow for real, against a local store; TensorBoard by reading back what it wrote; W&B by a stand-in."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from support.runs import jobs, once

from mam.errors import ConfigError, MamError
from mam.report.tracking import numbers, track


@pytest.fixture
def finished(words):
    outcome = once([*words, "lam=0.4", "evaluate.draws=200"])
    Path("picture.png").write_bytes((Path(__file__).parents[1] / "report" / "dot.png").read_bytes())
    return outcome


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_mlflow_keeps_numbers_traits_and_files(finished, monkeypatch):
    import mlflow

    store = Path("store").absolute().as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(store)
    track(finished.folder, finished.result, ["mlflow"], [Path("picture.png")])
    client = mlflow.MlflowClient(store)
    (experiment,) = [one for one in client.search_experiments() if one.name == "mam"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics == pytest.approx(numbers(finished.result))
    assert run.data.metrics["metrics/wer"] == finished.result.metrics.wer
    assert run.data.params["lam"] == "0.4" and run.data.params["hash"] == finished.result.hash
    assert run.data.tags["command"] == finished.result.command
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"result.json", "picture.png"}


def test_tensorboard_keeps_numbers_and_pictures(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track(finished.folder, finished.result, ["tensorboard"], [Path("picture.png")])
    (board,) = Path("outputs").rglob("events.out.tfevents*")
    read = EventAccumulator(str(board.parent)).Reload()
    (event,) = read.Scalars("metrics/wer")
    assert event.value == pytest.approx(finished.result.metrics.wer)
    assert read.Tags()["images"] == ["picture"]


def test_wandb_is_given_the_same(finished, monkeypatch):
    logged: dict = {}

    class Session:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def log(self, values):
            logged.update(values)

    wandb = types.ModuleType("wandb")
    wandb.init = lambda **named: logged.update(named) or Session()
    wandb.Image = lambda path: ("image", path)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    track(finished.folder, finished.result, ["wandb"], [Path("picture.png")])
    assert logged["name"] == finished.folder.name and logged["picture"] == ("image", "picture.png")
    assert logged["metrics/wer"] == finished.result.metrics.wer


def test_a_tracker_that_refuses_is_said_and_the_run_stays(finished, monkeypatch):
    wandb = types.ModuleType("wandb")

    def refuse(**_):
        raise RuntimeError("no key")

    wandb.init = refuse
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(MamError, match=r"track=wandb: no key\. The run is finished in outputs/"):
        track(finished.folder, finished.result, ["wandb"])


def test_trackers_that_are_not_there():
    with pytest.raises(ConfigError, match="track=paper: not known. Choose one of: mlflow, tensorboard, wandb"):
        jobs(["track=[paper]"])
    assert jobs(["track=[tensorboard]"])[0].signature == jobs([])[0].signature
