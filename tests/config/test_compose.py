"""Command-line words become checked configurations, or one message with every problem."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import mam.conf
import pytest
from omegaconf import OmegaConf
from support.runs import jobs

from mam.config.search import SELECTED
from mam.config.studies import study_jobs
from mam.config.training import LamConfig, TrainConfig
from mam.errors import ConfigError

CONF = Path(next(iter(mam.conf.__path__)))
GROUPS = [*SELECTED, "experiment"]
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
NEEDS = {  # what a choice needs beside it to be complete
    "method=regmean": ["calibration.source=sentences.txt"],
    **{f"method={name}": ["model.base=here"] for name in ("task_arithmetic", "ties", "dare")},
    **{f"data={name}": ["data.root=here"] for name in ("audiofolder", "commonvoice", "kaldi")},
    "data=hub": ["data.hub.id=owner/name"],
    "schedule=list": ["schedule.values=[0,0.1,0.2,0.3]"],
    **{f"layers=top{n}": ["model=hubert_bert"] for n in (6, 12)},
}


def problems_of(*words: str, multirun: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        jobs(words, multirun)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.mark.parametrize(("group", "name"), FILES, ids=[f"{group}={name}" for group, name in FILES])
def test_every_file_composes(group, name):
    word = f"{group}={name}"
    (job,) = jobs([word, *NEEDS.get(word, [])])
    if group == "layers":
        assert job.config.layers.spec == name
    elif group != "experiment":
        assert getattr(job.config, group).name == name
    elif job.config.study.axes:
        assert len(study_jobs(job)) > 1


def test_every_file_is_in_a_tested_group():
    tested = {CONF / group / f"{name}.yaml" for group, name in FILES} | {
        CONF / "config.yaml",
        CONF / "hydra/launcher/joblib.yaml",
        CONF / "hydra/launcher/slurm.yaml",  # both in tests/launch
    }
    assert set(CONF.rglob("*.yaml")) == tested


def test_defaults_are_the_demo():
    (job,) = jobs([])
    assert (job.config.model.name, job.config.data.name, job.config.lam) == ("demo_hubert_bert", "demo_speech", 0.05)
    assert job.words == ()


def test_every_problem_is_reported_together():
    found = problems_of(
        "lamm=1", "model=foo", "lam=1.5", "layers=zzz", "data.limit=x", "pairing=q", "parts=xyz", "dtype=int8"
    )
    text = "\n".join(found)
    assert len(found) == 8
    for expected in (
        "lamm: there is no such key. Did you mean: lam?",
        "model=foo: not known. Choose one of:\n      ast_vit                AST fine-tuned on AudioSet",
        "lam=1.5: must be from 0 to 1",
        "layers=zzz: not known. Choose one of:\n      all",
        "data.limit=x: Value 'x'",
        "pairing=q: not known. Choose one of:\n      index         Target layer i gets source layer i, counted"
        " from the input\n",
        "parts=xyz: must be a string of q, k, v, o",
        "dtype=int8: not known. Choose one of: bfloat16, float16, float32",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lam=nan", "lam=nan: must be from 0 to 1"),
        ("lam=-0.1", "lam=-0.1: must be from 0 to 1"),
        ("lam=inf", "lam=inf: must be from 0 to 1"),
        ("lam=high", "lam=high: Value 'high'"),
        ("lam=", "lam=: "),
        ("lam=0.1,0.2", "lam=0.1,0.2: several values need --multirun"),
        ("layers=top6", "layers.spec=top6: the target has 4 layers"),
        ("layers.spec=0-5,9", "no layer 9; the target has layers 0 to 3"),
        ("model.source_shape.layers=2", "pairing=index: the source has 2 layers, so target layer(s) 2, 3"),
        ("model.source_shape.width=64", "the width of the target is 128, that of the source is 64"),
        ("schedule=list", "schedule.values: has 0 numbers, but the target has"),
        ("data=audiofolder", "data.root: data=audiofolder needs a folder"),
        ("data.split=eval", "data.split=eval: not known. Choose one of: all, dev, not_dev, test, train"),
        ("data.on_bad=ignore", "data.on_bad=ignore: not known"),
        (
            "data.normalizer=english",
            "=english: not known. Choose one of:\n      auto\n      none                  No normalisation",
        ),
        ("data.limit=0", "data.limit=0: must be from 1"),
        ("seed=-1", "seed=-1: must be from 0"),
        ("evaluate.draws=5", "evaluate.draws=5: must be from 100 to 1 000 000"),
        ("evaluate.draws=99999999999999", "must be from 100 to 1 000 000"),
        ("evaluate.batch_seconds=nan", "must be from 1"),
        ("evaluate.batch_seconds=inf", "must be from 1"),
        ("threads=100000", "must be from 1 to 1 024"),
        ("data=null", "data=None: not known. Choose one of"),
        ("layers.spec=0-999999", "no layer 999999"),
        ("schedule.values=[0,0.1,0.1,0.1]", "schedule.values: has no effect without schedule=list"),
        ("schedule.end=0.5", "has no effect without schedule=linear"),
        ("study.axes={}", "axes are set one at a time"),
        ("study.axes.lam=[]", "an axis must be a list of values"),
        ("data.root=bad\udcff", "not valid UTF-8"),
        (
            "control=noise",
            "control=noise: not known. Choose one of:\n      none             No control: the source itself\n",
        ),
        ("train=slow", "train=slow: not known. Choose one of:\n      finetune"),
        ("+extra=1", "extra=1: keys cannot be added or deleted"),
        ("~lam", "~lam: keys cannot be added or deleted"),
        ("hydra.run.dir=x", "set outputs=FOLDER instead"),
        ("data.root.x=1", "data.root.x: there is no such key"),
    ],
)
def test_one_wrong_word(word, message):
    (problem,) = problems_of(word)
    assert message in problem


def test_paths_and_lists_need_no_hydra_quoting():
    words = ["layers.spec=0-1,3", "data.root=/my data/(new), it's=1", "model.target=a/b\\c\\'d\\", "data.ids.test=x y"]
    (job,) = jobs(words)
    config = job.config
    assert (config.layers.spec, config.data.root) == ("0-1,3", "/my data/(new), it's=1")
    assert (config.model.target, config.data.ids.test) == ("a/b\\c\\'d\\", "x y")
    assert job.words == tuple(words)


def test_multirun_combines_values():
    made = jobs(["lam=0,0.1", "layers=all,top2", "control=none"], multirun=True)
    assert [(j.config.lam, j.config.layers.spec) for j in made] == [
        (0, "all"),
        (0, "top2"),
        (0.1, "all"),
        (0.1, "top2"),
    ]
    assert made[3].words == ("lam=0.1", "layers=top2", "control=none", "evaluate.dev=true")
    made = jobs(["layers.spec='0-1,3',all", "control=none"], multirun=True)
    assert [j.config.layers.spec for j in made] == ["0-1,3", "all"]


def test_multirun_names_the_wrong_value_only():
    assert problems_of("lam=0,2", "layers=all,top2", multirun=True) == ["lam=2.0: must be from 0 to 1"]


@pytest.mark.parametrize("word", ["layers=glob(top*)", "lam=glob(*)", "lam=interval(0,1)", "lam=range(0,0)"])
def test_sweeps_without_a_list_are_refused(word):
    assert problems_of(word, multirun=True)


def test_the_same_run_twice_is_one_run():
    assert len(jobs(["lam=0.1,0.10,0.1", "control=none"], multirun=True)) == 1


def test_ids_without_effect_are_refused():
    assert "data.ids: has no effect with data.split=all" in problems_of("data.ids.test=x", "data.split=all")


def test_a_study_of_nothing_is_refused():
    (study,) = jobs(["experiment=lambda_grid", "study.axes.lam=[0]", "study.axes.control=[shrink]"])
    with pytest.raises(ConfigError, match="there is nothing to run"):
        study_jobs(study)


def test_signature_follows_what_changes_results():
    base = jobs([])[0].signature
    assert len(base) == 8 and int(base, 16) >= 0
    assert jobs(["lam=0.05"])[0].signature == base
    assert jobs(["outputs=elsewhere", "force=true", "cache_dir=x"])[0].signature == base
    different = [
        jobs([word])[0].signature for word in ("lam=0.06", "seed=1", "layers=top2", "data.limit=3", "bias=false")
    ]
    assert len({base, *different}) == 6


def test_study_is_every_combination_with_the_baseline_once():
    (study,) = jobs(["experiment=lambda_grid"])
    plan = [(job.config.lam, job.config.control) for job in study_jobs(study)]
    assert plan == [(0.0, "none")] + [(lam, c) for lam in (0.05, 0.1, 0.15, 0.2) for c in ("none", "shrink")]


def test_a_run_of_a_study_is_the_run_alone():
    """The same hash, so that a study finds what was run by hand and the other way round."""
    (study,) = jobs(["experiment=lambda_grid"])
    assert study_jobs(study)[1].signature == jobs(["lam=0.05"])[0].signature


def test_study_axes_can_be_changed_and_added():
    (study,) = jobs(["experiment=lambda_grid", "study.axes.lam=[0.3]", "+study.axes.layers=[all,top2]"])
    plan = [(j.config.lam, j.config.control, j.config.layers.spec) for j in study_jobs(study)]
    assert plan == [(0.3, c, s) for c in ("none", "shrink") for s in ("all", "top2")]


def test_study_refuses_what_it_would_ignore():
    (study,) = jobs(["experiment=lambda_grid", "lam=0.3"])
    with pytest.raises(ConfigError, match=r"lam: the study varies it. Set 'study.axes.lam="):
        study_jobs(study)
    assert "axis: there is no such key" in problems_of("experiment=lambda_grid", "+study.axes.axis=[1]")[0]
    (study,) = jobs(["experiment=lambda_grid", "study.axes.lam=[0.3,7]"])
    with pytest.raises(ConfigError, match="lam=7"):
        study_jobs(study)


def test_configuration_is_answered_without_torch():
    code = (
        "import sys; from mam.config.compose import jobs; jobs(['lam=0.1']); print([m for m in sys.modules if m in %r])"
    )
    heavy = ("torch", "transformers", "datasets", "numpy", "jiwer")
    result = subprocess.run([sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_record_has_hydras_own_node():
    assert OmegaConf.select(jobs([])[0].files, "runtime.choices.model") == "demo_hubert_bert"


@pytest.mark.parametrize("name", ["lmam_ljspeech", "lmam_vctk", "lmam_esc50"])
def test_the_papers_cases_spell_out_every_setting_of_the_training(name):
    path = CONF / "experiment" / f"{name}.yaml"
    inherited = [base for base in OmegaConf.load(path).defaults if isinstance(base, str) and base != "_self_"]
    files = [path.with_name(f"{base}.yaml") for base in inherited] + [path]
    written = OmegaConf.merge(*map(OmegaConf.load, files)).train
    not_results = {"name", "resume", "report_to"}
    assert set(written) == set(asdict(TrainConfig())) - not_results
    assert set(written.lam) == set(asdict(LamConfig()))


def test_settings_of_lambda_reach_the_arms_that_learn_it_and_no_other_run():
    plan = study_jobs(jobs(["experiment=lmam_vs_ft", "train.lam.per=part", "study.axes.seed=[0]"])[0])
    assert {job.config.train.lam.per for job in plan if job.config.train.name == "lmam"} == {"part"}
    plain = study_jobs(jobs(["experiment=lmam_vs_ft", "study.axes.seed=[0]"])[0])
    ft, ft_before = plan[0], plain[0]
    assert ft.config.study.arm == "FT" and ft.signature == ft_before.signature
    assert "has no effect without train=lmam" in problems_of("train=finetune", "train.lam.per=part")[0]


STUDIES = [path.stem for path in sorted((CONF / "experiment").glob("*.yaml")) if "study:" in path.read_text()]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_shrink_in_it(name):
    (study,) = jobs([f"experiment={name}"])
    found = {job.config.control for job in study_jobs(study)} | set(study.config.study.second.axes.get("control", []))
    assert {"none", "shrink"} <= found


def test_a_study_of_ones_own_has_shrink_in_it_unless_it_says_otherwise():
    own = study_jobs(jobs(["study.name=x", "+study.axes.lam=[0.0,0.1]"])[0])
    assert [(job.config.lam, job.config.control) for job in own] == [(0, "none"), (0.1, "none"), (0.1, "shrink")]
    alone = study_jobs(jobs(["study.name=x", "+study.axes.lam=[0.1]", "control=rotate"])[0])
    assert [job.config.control for job in alone] == ["rotate"]


def test_parts_and_heads_are_reported_together():
    assert len(problems_of("parts=xyz", "heads=9")) == 2


def test_a_sweep_over_lambda_has_its_baseline_and_the_rate_on_dev():
    plan = jobs(["lam=0.1,0.2"], multirun=True)
    assert [(job.config.lam, job.config.control, job.config.evaluate.dev) for job in plan] == [
        (0, "none", True),
        (0.1, "none", True),
        (0.1, "shrink", False),
        (0.2, "none", True),
        (0.2, "shrink", False),
    ]
    assert [job.config.lam for job in jobs(["lam=0.1,0.1,0.10", "control=none"], multirun=True)] == [0.1]
    assert [job.config.lam for job in jobs(["lam=0.1", "layers=all,top2", "control=none"], multirun=True)] == [0.1] * 2
    learnt = jobs(["lam=0.1,0.2", "train=lmam", "control=none"], multirun=True)
    assert [job.config.lam for job in learnt] == [0.1, 0.2] and not any(job.config.evaluate.dev for job in learnt)
    assert not jobs(["lam=0,0.1", "control=none", "evaluate.dev=false"], multirun=True)[0].config.evaluate.dev
    assert not jobs(["lam=0,0.1", "control=none", "data.split=all"], multirun=True)[0].config.evaluate.dev
    plain = jobs(["lam=0.1"])[0]
    assert plan[1].signature == plain.signature, "the rate on dev does not make another run of it"


def test_names_that_are_empty_are_refused():
    """An empty path would mean the folder one is in."""
    with pytest.raises(ConfigError) as caught:
        jobs(["model.source=", "model.target=' '", "model.source_revision=", "data=audiofolder", "data.root="])
    keys = ["model.target", "model.source", "model.source_revision", "data.root"]
    assert [problem.partition(": is empty. ")[0] for problem in caught.value.problems] == keys
