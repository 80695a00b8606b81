"""λ that a schedule says itself is λ, whatever lam is; a lam that nothing reads may be said, and not varied."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import mam.conf
import pytest
import yaml
from omegaconf import OmegaConf
from support.runs import by_hydra, jobs, once, plan_of

from mam.config.job import Job
from mam.config.merging import merges_nothing
from mam.config.schema import resolved
from mam.config.studies import study_jobs
from mam.errors import ConfigError
from mam.evaluation.model_pair import checked_parents
from mam.records.reading import read_config
from mam.records.result import plain
from mam.runs.export import export
from mam.runs.inspection import inspect
from mam.studies.transfer import GRID, second_stage

CONF = Path(next(iter(mam.conf.__path__)))
VARYING = ("lambda_grid", "controls", "rivals", "alignment", "compatibility")  # lam is an axis of these
EXPERIMENTS = [path.stem for path in sorted((CONF / "experiment").glob("*.yaml")) if path.stem not in VARYING]


def lams(job: Job) -> list[float]:
    return list(plan_of(job.config).lams)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("schedule", ["list", "lines"])
def test_lambda_is_what_was_said_under_any_experiment(experiment, schedule):
    depth = jobs([f"experiment={experiment}"])[0].config.model.target_shape.layers
    values = [round(0.1 * layer / (depth - 1), 6) for layer in range(depth)]
    said = [f"schedule={schedule}", *([f"schedule.values={values}"] if schedule == "list" else ["schedule.beta=0.1"])]
    (job,) = jobs([f"experiment={experiment}", *said])
    (again,) = jobs([f"experiment={experiment}", "lam=0.7", *said])
    assert lams(job) == lams(again) == pytest.approx(values, abs=1e-6) and again.signature == job.signature


LIST = ["schedule=list", "schedule.values=[0,0.1,0.2,0.3]"]


def test_lam_beside_a_list_is_irrelevant():
    said = [jobs([*LIST, *more])[0] for more in ([], ["lam=0.05"], ["lam=0"], ["lam=1"])]
    assert all(lams(job) == [0, 0.1, 0.2, 0.3] for job in said)
    assert len({job.signature for job in said}) == 1 and all("lam" not in job.resolved for job in said)
    (nothing,) = jobs(["schedule=list", "schedule.values=[0,0,0,0]", "lam=0.5"])
    (unmerged,) = jobs([*LIST, "layers.spec=0"])
    for job in (nothing, unmerged):  # which leaves controls out, and FT what it is
        assert merges_nothing(job.config) and not any(lams(job))
    assert not any(merges_nothing(job.config) for job in said)
    learnt, frozen = (jobs([*LIST, f"train={name}", "lam=0.2"])[0] for name in ("lmam", "finetune"))
    assert lams(learnt) == lams(frozen) == [0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("words", "multirun", "message"),
    [
        (["lam=0,0.1", *LIST], True, "schedule=list sets λ itself, so the runs with lam=0, 0.1 would"),
        (["lam=0.1,0.2", "schedule=lines"], True, "schedule=lines sets λ itself, so the runs with lam=0, 0.1, 0.2"
        " would"),
        (["lam=0,0.1", "schedule=constant,lines"], True, "schedule=lines sets λ itself"),
        (["experiment=lambda_grid", *LIST], False, "schedule=list sets λ itself, so the runs with lam=0, 0.05, 0.1,"
        " 0.15,"
        " 0.2"
        " would"),
        (["experiment=controls", "schedule=lines"], False, "schedule=lines sets λ itself, so the runs with lam=0.02,"
        " 0.05,"
        " 0.1"
        " would"),
        (["experiment=lambda_grid", "tune=grid"], False, "tune=grid chooses λ, so the runs with lam=0, 0.05, 0.1, 0.15,"
        " 0.2"
        " would"),
        (["experiment=lmam_vs_ft", *LIST, 'study.arms.FT=["train=finetune","lam=0"]'], False, "in the arm"),
        (["tune=grid", *LIST], False, "schedule=list: sets λ itself, so tune=grid cannot choose it"),
        (["tune=race", "schedule=lines"], False, "schedule=lines: sets λ itself, so tune=race cannot choose it"),
    ],
)  # fmt: skip
def test_lam_that_nothing_reads_is_not_varied(words, multirun, message):
    with pytest.raises(ConfigError, match=message):
        (study, *_) = jobs(words, multirun)
        study_jobs(study)


def test_regular_fine_tuning_stays_unmerged_beside_a_list():
    plan = study_jobs(jobs(["experiment=lmam_vs_ft", *LIST, "study.axes.seed=[0]"])[0])
    by_arm = {job.config.study.arm: lams(job) for job in plan}
    assert by_arm.pop("FT") == [0, 0, 0, 0] and len(by_arm) == 5
    assert all(found == [0, 0.1, 0.2, 0.3] for found in by_arm.values())
    plain = study_jobs(jobs(["experiment=lmam_vs_ft", "study.axes.seed=[0]"])[0])
    assert plain[0].signature == plan[0].signature  # the same FT serves both


def test_fixed_lambda_of_a_second_stage_is_fixed():
    (study,) = jobs(["experiment=lambda_transfer", *LIST])
    result = SimpleNamespace(merge=SimpleNamespace(lam=[0.4, 0.3, 0.2, 0.1]))
    first = [SimpleNamespace(job=job, outcome=SimpleNamespace(result=result)) for job in study_jobs(study)]
    found = {job.config.study.arm: lams(job) for job in second_stage(study, first)}
    assert found == {f"fixed-{lam:g}": [lam] * 4 for lam in GRID} | {
        "own": [0.4, 0.3, 0.2, 0.1],
        "carried": [0.4, 0.3, 0.2, 0.1],
    }


def test_run_inspect_and_record(words):
    said = ["schedule=list", "schedule.values=[0.1,0.2,0.3]", "lam=0.05"]
    outcome = once([*words, *said, "evaluate.draws=200"])
    assert outcome.result.merge.lam == [0.1, 0.2, 0.3]
    assert read_config(outcome.folder).lam == 0.05 and "lam" not in resolved(read_config(outcome.folder))
    config = jobs([*words, *said])[0].config
    assert inspect(config, checked_parents(config)).lam == [0.1, 0.2, 0.3]
    assert once([*words, *said[:2], "evaluate.draws=200"]).status == "skipped"


def test_what_was_run_is_exported_whatever_a_schedule_means_now(words):
    """Results of before, whose list was scaled by lam."""
    outcome = once([*words, "schedule=list", "schedule.values=[0.1,0.2,0.3]", "evaluate.draws=200"])
    path, recorded = outcome.folder / "result.json", plain(outcome.result)
    path.write_text(json.dumps(recorded | {"merge": recorded["merge"] | {"lam": [0.05, 0.1, 0.15]}}))
    export(outcome.folder, Path("exported"))
    assert "| 2 | 0.15 | 2 |" in Path("exported/README.md").read_text()
    assert yaml.safe_load(Path("exported/mam_config.yaml").read_text())["schedule"]["values"] == [0.05, 0.1, 0.15]


GROUPS = [path for path in sorted(CONF.glob("*/*.yaml")) if path.parent.name not in ("experiment", "hydra")]


@pytest.mark.parametrize("path", GROUPS, ids=[f"{path.parent.name}={path.stem}" for path in GROUPS])
def test_a_file_of_a_group_sets_keys_of_its_group_alone(path):
    group = path.parent.name
    needs = {
        "method=regmean": ["calibration.source=x.txt"],
        **{f"method={name}": ["model.base=x"] for name in ("task_arithmetic", "ties", "dare")},
        **{f"data={name}": ["data.root=x"] for name in ("audiofolder", "commonvoice", "kaldi")},
        "data=hub": ["data.hub.id=x"],
        "schedule=list": ["schedule.values=[0,0,0,0]"],
    }
    more = needs.get(f"{group}={path.stem}", [])
    if group == "layers":
        more = ["model=hubert_bert"]
    words = [f"{group}={path.stem}", *more]
    assert jobs(words)
    raw, before = (OmegaConf.to_container(by_hydra(some), resolve=False) for some in (words, []))
    changed = {key for key in before if key != "hydra" and raw[key] != before[key]}
    assert changed <= {group, *(word.split(".")[0].split("=")[0] for word in more)}


def test_a_pair_says_what_it_needs_and_the_run_may_say_otherwise():
    (job,) = jobs(["model=whisper_base_minilm"])
    assert (job.config.on_mismatch, job.config.pairing) == ("project", "index")
    (job,) = jobs(["model=hubert_xlarge_vit"])
    assert (job.config.on_mismatch, job.config.pairing) == ("error", "proportional")
    assert jobs(["model=hubert_xlarge_vit", "pairing=top", "layers.spec=40-47"])[0].config.pairing == "top"
    with pytest.raises(ConfigError, match="the width of the target is 512, that of the source is 384"):
        jobs(["model=whisper_base_minilm", "on_mismatch=error"])


def test_what_is_tested_is_not_calibrated_on():
    """With data.split=not_dev the training recordings are tested too."""
    words = ["align=procrustes_activations", "data.split=not_dev"]
    with pytest.raises(ConfigError, match="calibration.audio=train: data.split=not_dev also tests on these recordings"):
        jobs(words)
    assert jobs([words[0]]) and jobs([*words, "calibration.audio=FOLDER"])
