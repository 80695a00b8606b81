"""The paper's tables: what was run stands in them, and the paper's own figure only beside its own case."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import mam.conf
import pytest
from support.audio import write_folder
from support.runs import jobs, pair_words

from mam.config.studies import study_jobs
from mam.errors import MamError
from mam.evaluation.workbench import Workbench
from mam.records.learning import ChosenLam
from mam.records.parts import Delta, SpeechBaseline
from mam.report.paper import HEADINGS, PAPER, paper_table, show_paper_table, write_table_files
from mam.report.paper_table import read_paper_table
from mam.studies.execute import execute, study_folder
from mam.studies.preflight import refuse_incomplete
from mam.terminal import Terminal, percent

EXPERIMENTS = sorted(path.stem for path in (Path(next(iter(mam.conf.__path__))) / "experiment").glob("*.yaml"))


@pytest.fixture
def split(hubert_group, bert, tmp_path):
    lengths = [0.6, 1.3, 0.9, 1.3, 0.8, 1.0]
    data = write_folder(tmp_path / "data", lengths, split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2)
    return [*pair_words(hubert_group, bert), f"data.root={data}", "evaluate.draws=200"]


def ran(words):
    """The study that words name, and how its members ended."""
    study = jobs(words)[0]
    plan = study_jobs(study)
    ended = execute(plan, Workbench(), study_folder(plan, study.config.study.name))
    assert [end.error for end in ended] == [None] * len(plan)
    return study.config.study, ended


def test_zero_shot(split, capsys):
    study, ended = ran(["experiment=table_asr_zeroshot", *split, "study.axes.data=[audiofolder]"])
    table = paper_table(study, ended)
    assert table.headings == HEADINGS and all(len(row) == len(HEADINGS) for row in table.rows)
    methods = [row[1] for row in table.rows]
    assert methods[:3] == ["baseline", "best fixed λ", "selected layers (top2)"]
    assert methods[3:] == ["control: shrink", "control: random"]
    results = {end.job.config.study.arm: end.outcome.result for end in ended}
    assert table.rows[1][3] == percent(results["fixed"].metrics.wer)
    assert table.rows[1][2] == f"{results['fixed'].tune.chosen[0].lam:g}"
    assert all(row[-1] == "" for row in table.rows), "the paper says nothing about these data"
    write_table_files(table, Path("folder"))
    assert json.loads(Path("folder/table.json").read_text()) == asdict(table)
    assert read_paper_table(Path("folder/table.json")) == table
    assert list(csv.reader(Path("folder/table.csv").read_text().splitlines())) == [HEADINGS, *table.rows]
    assert r"\toprule" in Path("folder/table.tex").read_text()
    show_paper_table(Terminal(), table)
    assert "Speech recognition, merging without training (MAM)" == table.title in capsys.readouterr().out


def test_trained(split):
    quick = ["train.steps=2", "train.evaluate_every=1", "train.log_every=1", "study.axes.seed=[0,1]"]
    study, ended = ran(["experiment=table_asr_lmam", *split, *quick, "study.axes.data=[audiofolder]"])
    rows = {row[1]: row for row in paper_table(study, ended).rows}
    assert list(rows) == [
        "before training",
        "FT",
        "MAM-FT",
        "L-MAM",
        "L-MAM, λ frozen",
        "control: L-MAM, random",
        "control: L-MAM, shrink",
    ]
    ft, lmam = (
        [end.outcome.result.metrics.wer for end in ended if end.job.config.study.arm == arm] for arm in ("FT", "L-MAM")
    )
    assert rows["FT"][3] == f"{100 * sum(ft) / 2:.2f} % (n=2)" or rows["FT"][3].startswith(f"{100 * sum(ft) / 2:.0f}")
    difference = 100 * (sum(lmam) - sum(ft)) / 2
    assert float(rows["L-MAM"][4].replace("–", "0")) == pytest.approx(difference, abs=0.5)
    assert rows["L-MAM"][5] == "too few seeds" and rows["FT"][4] == ""


def test_the_papers_figures_stand_beside_their_own_cases_only():
    baseline = SpeechBaseline(wer=0.06, cer=0.02, substitutions=60, deletions=0, insertions=0, words=1000)
    delta = Delta(
        absolute=-0.01,
        ci95=(-0.02, 0.0),
        relative=-1 / 6,
        relative_ci95=None,
        p_value=0.04,
        test="",
        clusters=250,
        changed=9,
        better=7,
        worse=2,
    )
    result = SimpleNamespace(
        rate=0.05,
        baseline_rate=baseline.wer,
        baseline=baseline,
        delta=delta,
        merge=SimpleNamespace(lam=[0.05], layers=[0]),
        tune=SimpleNamespace(chosen=[ChosenLam(None, 0.05)]),
    )

    def end(arm):
        config = SimpleNamespace(
            study=SimpleNamespace(arm=arm), data=SimpleNamespace(name="ljspeech"), layers=SimpleNamespace(spec="all")
        )
        return SimpleNamespace(job=SimpleNamespace(config=config), outcome=SimpleNamespace(result=result))

    study = jobs(["experiment=table_asr_zeroshot"])[0].config.study
    rows = paper_table(study, [end("fixed"), end("shrink")]).rows
    assert [row[-1] for row in rows] == ["", "−6.70 %", ""] and rows[1][-2] == "7/2"
    tables = [jobs([f"experiment={name}"])[0].config.study for name in EXPERIMENTS if name.startswith("table_")]
    assert len(PAPER) == 6 and {name for name, _ in PAPER} == {study.name for study in tables}
    assert all(study.title and study.paper_arm in study.arms for study in tables)


def test_what_is_missing_is_named_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("MAM_DATA", str(tmp_path))
    monkeypatch.setenv("MAM_CHECKPOINTS", str(tmp_path))
    for name, told in (
        (
            "table_asr_zeroshot_paper",
            ["LJ-Speech-Dataset", "10283/3443", "facebook/hubert-large-ls960-ft", "hf download"],
        ),
        ("table_aec_lmam_paper", ["karolpiczak/ESC-50", "BEATs_iter3_plus_AS2M.pt", "google/vit-base-patch16-224"]),
    ):
        plan = study_jobs(jobs([f"experiment={name}"])[0])
        with pytest.raises(MamError) as caught:
            refuse_incomplete(plan)
        message = str(caught.value)
        assert message.startswith("nothing was run, since data or models are missing:") and all(
            word in message for word in told
        ), message
    refuse_incomplete(study_jobs(jobs(["experiment=table_asr_zeroshot"])[0]))
