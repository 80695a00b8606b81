"""Several processes on this machine: the same results, nothing twice, a killed one named and made up for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.runs import jobs, mam, once, problems_in

from mam.errors import ConfigError, NotEndedError
from mam.evaluation.attention_statistics import CLIPS
from mam.evaluation.prefix import Prefix
from mam.evaluation.workbench import Workbench
from mam.launch import settings
from mam.launch.launch import NOT_STARTED, launch
from mam.launch.settings import Launcher, launcher_of, split_words
from mam.launch.work import JobBatch, LaunchRequest, Submission, note_name, read_note, tasks_of
from mam.records.result import plain
from mam.studies.execute import execute, in_order, study_folder
from mam.terminal import Terminal


def test_words_are_told_apart():
    run, where = split_words(["lam=0.1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "hydra/sweeper=optuna"])
    assert run == ["lam=0.1", "tune=optuna"] and where == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]
    assert launcher_of(where) == Launcher("joblib", {"n_jobs": 3}, tuple(where))
    assert launcher_of([]) == Launcher("basic", {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["hydra/launcher=ray"],
            "hydra/launcher=ray: is not installed",
        ),
        (["hydra.launcher.n_jobs=2"], "has no effect without hydra/launcher=joblib or slurm"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "must be a number from 1 to 1 024"),
        (["hydra/launcher=joblib", "hydra.launcher.cores=2"], "hydra/launcher=joblib: "),
        (["hydra/launcher=slurm", "hydra.launcher.partitoin=x"], "hydra/launcher=slurm: "),
    ],
)
def test_launchers_that_are_not_there(words, message, monkeypatch):
    monkeypatch.setattr(settings.shutil, "which", lambda name: f"/bin/{name}")
    with pytest.raises(ConfigError, match=message):
        launcher_of(words)


def test_what_is_not_installed_or_not_here_is_said(monkeypatch):
    monkeypatch.setattr(settings.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="there is no Slurm on this machine"):
        launcher_of(["hydra/launcher=slurm"])
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'mam-bench\[slurm\]'"):
        launcher_of(["hydra/launcher=slurm"])


def test_a_launcher_needs_several_runs():
    answer = mam("run", "hydra/launcher=joblib")
    assert answer.returncode == 2 and "needs several runs. Add --multirun, or choose an experiment" in answer.stderr


def test_the_slurm_preset_names_what_a_cluster_needs(monkeypatch):
    monkeypatch.setattr(settings.shutil, "which", lambda name: f"/bin/{name}")
    found = launcher_of(["hydra/launcher=slurm", "hydra.launcher.partition=gpu"]).settings
    assert (
        found["partition"] == "gpu" and found["name"] == "mam" and found["additional_parameters"] == {"requeue": True}
    )
    assert {"timeout_min", "mem_gb", "gpus_per_node", "array_parallelism", "max_num_timeout"} <= set(found)


def test_jobs_that_share_states_stand_together():
    words = ["--multirun", "lam=0.1,0.2", "layers=top1,all,top2", "control=none"][1:]
    plan = jobs(words, multirun=True)
    firsts = [(job.config.layers.spec, job.config.lam) for job in in_order(plan)]
    assert [spec for spec, _ in firsts] == ["all"] * 3 + ["top2"] * 3 + ["top1"] * 3
    assert [lam for _, lam in firsts] == [0, 0.1, 0.2] * 3, "as planned where nothing else decides"


def test_a_sweep_over_layers_hears_everything_once(words, monkeypatch):
    made: list[Prefix] = []
    begin = Prefix.__init__
    monkeypatch.setattr(Prefix, "__init__", lambda self, *a, **k: (begin(self, *a, **k), made.append(self))[0])
    plan = jobs([*words, "lam=0,0.3,0.6", "layers=top1,all,top2", "evaluate.draws=100"], multirun=True)
    ended = execute(plan, Workbench(), study_folder(plan, "multirun"))
    assert all(end.error is None for end in ended) and [end.job for end in ended] == plan
    (prefix,) = made
    assert prefix.computed == 1 + CLIPS  # one pack of five short clips, and those whose attention is looked at


def test_two_processes_do_what_one_does(words):
    sweep = [*words, "--multirun", "lam=0,0.3,0.6", "evaluate.draws=200"]
    answer = mam("run", *sweep, "hydra/launcher=joblib")
    assert answer.returncode == 0, answer.stderr
    assert "5 runs: 5 finished now, 0 skipped, 0 failed" in answer.stdout and not problems_in(answer.stderr)
    cache = Path(os.environ["MAM_CACHE"])
    kinds = {kind: len(list((cache / kind).glob("*.safetensors"))) for kind in ("states", "audio")}
    expected = {"states": 1 + CLIPS, "audio": 1}  # one pack, the clips whose attention is looked at, one corpus
    assert kinds == expected, "for all processes"
    results = [json.loads(path.read_text()) for path in Path("outputs").rglob("result.json")]
    assert len(results) == 5 and len({result["baseline"]["wer"] for result in results}) == 1
    for result in results:
        lam, control = result["merge"]["lam"][0], result["merge"]["control"]
        alone = once(
            [*words, f"lam={lam}", f"control={control}", "outputs=alone", "evaluate.draws=200", "cache_dir=own"]
        )
        assert plain(alone.result.metrics) == result["metrics"] and plain(alone.result.delta) == result["delta"]
    again = mam("run", *sweep, "hydra/launcher=joblib")
    assert "5 runs: 0 finished now, 5 skipped, 0 failed" in again.stdout


def test_a_killed_process_is_named_and_what_is_missing_is_run_again(words, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('loky' in word for word in sys.orig_argv) and not os.path.exists('spared'):\n"
        "    from mam.launch import work\n"
        "    call = work.JobBatch.__call__\n"
        "    def killed(self):\n"
        "        if any('lam=0.3' in job for job in self.jobs):\n"
        "            os.kill(os.getpid(), 9)\n"
        "        call(self)\n"
        "    work.JobBatch.__call__ = killed\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    sweep = [*words, "--multirun", "lam=0,0.3", "control=none", "hydra/launcher=joblib", "evaluate.draws=200"]
    answer = mam("run", *sweep, PYTHONPATH=path)
    assert "Run the same command again for what is missing" in answer.stdout
    assert answer.returncode == 1 and "ended without a message: killed, out of memory or out of time" in answer.stderr
    Path("spared").touch()
    answer = mam("run", *sweep, PYTHONPATH=path)
    assert answer.returncode == 0 and "2 runs:" in answer.stdout and "0 failed" in answer.stdout


def test_a_failure_is_noted_with_its_log_and_the_others_go_on(words):
    plan = jobs([*words, "lam=0.3", "control=none", "data.split=all,nosuch".replace("nosuch", "train")], multirun=True)
    ended = launch(plan, Workbench(), study_folder(plan, "multirun"), Launcher("basic", {}))
    assert [end.error is None for end in ended] == [True, False]
    assert "the split is empty" in ended[1].log.read_text() and str(ended[1].log).endswith(".log")


def test_what_is_nobodys_to_mend_is_noted_with_its_traceback(words, monkeypatch):
    from mam.studies import execute as module

    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "run", broken)
    plan = jobs([*words, "lam=0.3,0.6", "control=none"], multirun=True)
    ended = execute(plan, Workbench(), study_folder(plan, "multirun"))
    assert [end.error for end in ended] == ["ZeroDivisionError: a bug"] * 3
    assert "Traceback" in ended[0].log.read_text()


def test_a_task_does_only_what_is_missing(words, tmp_path):
    plan = jobs([*words, "lam=0.3,0.6", "control=none", "evaluate.draws=100"], multirun=True)
    (task,) = tasks_of(plan, tmp_path / "folder", 10, None)
    assert isinstance(task, JobBatch) and len(task.jobs) == 3
    task()
    notes = [read_note(tmp_path / "folder", job) for job in plan]
    assert [note["status"] for note in notes] == ["finished"] * 3
    before = sorted(Path("outputs").rglob("result.json"))
    task()
    assert sorted(Path("outputs").rglob("result.json")) == before
    assert [read_note(tmp_path / "folder", job) for job in plan] == notes


@pytest.fixture
def sent(monkeypatch):
    """Requests that reach a launcher; what it does with each is set by the test."""
    requests, acts = [], []

    def send(request: LaunchRequest) -> None:
        requests.append(request)
        acts[len(requests) - 1](request)

    monkeypatch.setattr("mam.launch.launch._sender", lambda name: send)
    return requests, acts


def held(request: LaunchRequest) -> None:
    raise NotEndedError("no job of 7 has been running or able to start", "not finished: in Slurm as 7,")


def test_each_job_says_how_slurm_ended_it_or_where_it_is(words, sent, capsys):
    _, acts = sent
    plan = jobs([*words, "lam=0,0.3,0.6", "control=none", "evaluate.draws=100"], multirun=True)

    def ends(request: LaunchRequest) -> None:
        request.tasks[0]()  # leaves its note, whatever Slurm says of it
        request.lose([note_name(job) for task in request.tasks[:2] for job in task.jobs], "cancelled in Slurm")
        request.left()
        held(request)

    acts.append(ends)
    ended = launch(plan, Workbench(Terminal()), Path("outputs/2030-01-01/study"), Launcher("slurm", {}))
    assert [end.error for end in ended] == [None, "cancelled in Slurm", "not finished: in Slurm as 7,"]
    assert ended[1].log == Path("outputs/2030-01-01/study/logs")
    out, err = capsys.readouterr()
    assert out.splitlines() == ["[1/3] lam=0: finished", "[2/3] lam=0.3: cancelled in Slurm"]
    assert "error: no job of 7 has been running or able to start" in err


def test_what_finished_after_all_is_not_called_cancelled(words, sent):
    """Its result is there, but the process was ended before it could leave a note."""
    plan = jobs([*words, "lam=0.3", "control=none", "evaluate.draws=100"], multirun=True)

    def ends(request: LaunchRequest) -> None:
        for task in request.tasks:
            task()
        for job in plan:
            (request.folder / "ended" / f"{note_name(job.words)}.json").unlink()
            request.lose([note_name(job.words)], "cancelled in Slurm")

    sent[1].append(ends)
    ended = launch(plan, Workbench(), Path("outputs/2030-01-01/study"), Launcher("slurm", {}))
    assert [end.error for end in ended] == [None]


def test_trainings_wait_for_the_fine_tuning_that_they_are_compared_with(lesson, sent):
    requests, acts = sent
    plan = jobs([*lesson, "train=finetune", "lam=0,0.3", "control=none"], multirun=True)
    acts.append(held)
    ended = launch(plan, Workbench(), Path("outputs/2030-01-01/study"), Launcher("slurm", {}))
    assert [end.error for end in ended] == ["not finished: in Slurm as 7,", NOT_STARTED] and len(requests) == 1
    assert ended[1].log is None


def test_a_note_of_what_was_queued_knows_which_job_has_which_number(words, tmp_path):
    """A later command finds some jobs finished, or cuts them into other tasks; Slurm's numbers stay."""
    plan = jobs([*words, "lam=0.1,0.2,0.3", "control=none"], multirun=True)
    new = Submission.of(plan, 0, tmp_path)
    assert new.queue_id is None and new.tasks == ()
    kept = new.keep("7", tasks_of(plan, tmp_path, 3, None))
    names = [note_name(job.words) for job in plan]
    assert kept.queue_id == "7" and kept.tasks == (tuple(names[:3]), tuple(names[3:])) and len(names) == 4
    other = jobs(
        [*words, "lam=0.1,0.2,0.3", "control=none", "launch.jobs_per_task=1", "launch.wait=false"], multirun=True
    )
    assert Submission.of(other, 0, Path("elsewhere")) == kept
    for broken in ("{", "[]", '{"queue_id": "7"}', '{"queue_id": "7", "folder": "x", "tasks": 3}'):
        kept.path.write_text(broken)
        assert Submission.of(plan, 0, tmp_path) == new
