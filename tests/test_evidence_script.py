"""The script of the studies on real models: what it starts composes, and what is finished becomes a page."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from support.audio import write_folder
from support.runs import jobs

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import evidence
import evidence_page


@pytest.fixture
def options(tmp_path):
    """Folders as the script expects them, with a few clips and no weights."""
    for name in {name for _, *names in evidence.PAIRS.values() for name in names}:
        (tmp_path / "real" / name).mkdir(parents=True)
    for language in ("en", "it"):
        prompts = write_folder(tmp_path / f"prompts-{language}", [0.5, 0.6])
        table = prompts / "metadata.csv"
        header, *rows = table.read_text().splitlines()
        assert header.split(",")[0] == "file_name"
        lines = ["file_name,transcription", *(f"{row.split(',')[0]},some words" for row in rows)]
        table.write_text("\n".join(lines) + "\n")
    wavs = tmp_path / "real" / "LJSpeech-1.1" / "wavs"
    wavs.mkdir(parents=True)
    (wavs / "LJ001-0001.wav").write_bytes(next((tmp_path / "prompts-en").rglob("*.wav")).read_bytes())
    (wavs.parent / "metadata.csv").write_text("LJ001-0001|Dr. Who|Doctor Who\n")
    return Namespace(real=tmp_path / "real", more=tmp_path, outputs=tmp_path / "out", words=["data.limit=2"])


@pytest.mark.parametrize("study", evidence.STUDIES, ids=lambda study: study.name)
def test_every_study_composes(study, options):
    command, *words = evidence.words_of(study, options)
    (job,) = jobs(words)
    assert command == "run" and job.config.study.axes and job.config.data.limit == 2
    assert Path(job.config.model.target).is_dir()
    assert job.config.data.language == (None if study.data == evidence.SOUNDS else study.data)


def test_english_is_all_prompts_and_lj_speech(options):
    folder = evidence.recordings("english", options)
    rows = (folder / "metadata.csv").read_text().splitlines()
    assert rows[-1] == "LJ001-0001.wav,Doctor Who" and len(rows) == 1 + 2 + 1
    assert len(list(folder.glob("*.wav"))) == 3
    assert evidence.recordings("english", options) == folder


def test_the_page_says_what_follows_and_what_was_not_run(tmp_path):
    difference = {"absolute": -0.0125, "ci95": [-0.02, 0.001], "changed": 9, "better": 7, "worse": 2, "clusters": 285}
    difference |= {"test": "sign-flip test over 285 utterances"}
    few = difference | {"changed": 2, "ci95": None}
    folder = tmp_path / "content" / "2026-01-01" / "study"
    runs, result = [], {"merge": {"asked": {"lam": 0.1}}, "env": {"device": "a GPU", "dtype": "float32"}}
    for number, (control, delta) in enumerate((("none", difference), ("shrink", few))):
        (folder / f"run{number}").mkdir(parents=True)
        (folder / f"run{number}" / "result.json").write_text(json.dumps(result))
        rates = {"metrics": {"wer": 0.1234}, "baseline": {"wer": 0.1359, "words": 2000}, "delta": delta}
        runs.append({"varied": {"control": control}, "folder": f"elsewhere/run{number}", **rates})
    difference |= {"p_value": 0.04}
    comparison = {"where": {}, "control": "shrink", "difference": difference, "p_holm": 0.04}
    controls = [comparison | {"control": control} for control in evidence_page.CONTROLS]
    said = {
        "runs": runs,
        "comparisons": controls,
        "rivals": [comparison | {"difference": few}],
        "conclusion": "no evidence",
        "rivalry": None,
    }
    (folder / "study.json").write_text(json.dumps(said))
    (tmp_path / "content" / evidence.WORDS).write_text("data.limit=200")
    (folder / "study.png").write_bytes(b"picture")
    evidence_page.copy_pictures(tmp_path, tmp_path / "img")
    assert (tmp_path / "img" / "evidence-content.png").read_bytes() == b"picture"
    page = evidence_page.page(tmp_path)
    assert "(img/evidence-content.png)" in page
    assert (
        "| [Does the source's content matter?](#does-the-sources-content-matter) | all-MiniLM-L6-v2 into"
        " whisper-tiny.en, λ=0.1 | −1.25 points, [−2.00, +0.10] | −1.25 points, – | yes; `lam=0.1` is better than"
    ) in page
    assert (
        "The source's content matters: at `lam=0.1` (p 0.040) the source differs from `shrink`, `random_spectrum`,"
        " `rotate` and `shuffle_layers`."
    ) in page
    assert "Word error rate of the unmerged target: 13.59 % of 2,000 words" in page
    assert "Computed on a GPU in float32" in page
    assert "| `lam=0.1` | the source | 12.34 | −1.25 | [−2.00, +0.10] | 7 better, 2 worse of 285 |" in page
    assert "| `lam=0.1` | `shrink` | −1.25 | [−2.00, +0.10] | 0.040 | 7 better, 2 worse of 285 |" in page
    assert "| −1.25 | – | few changed |" in page
    assert "python scripts/evidence.py --real REAL --more MORE content data.limit=200" in page
    _, not_run = page.split("## Not run")
    assert not_run.count("\n- ") == len(evidence.STUDIES)
    assert "- `content` was run in part: the whole study is `experiment=controls" in not_run
    assert "(`language`: all-MiniLM-L6-v2 into whisper-base, Italian)" in not_run


def found(*p_values, controls=evidence_page.CONTROLS, where=None, **difference):
    """What the page says of differences with these p, one for each control."""
    made = {"absolute": 0.01, "ci95": [-0.01, 0.03]} | difference
    comparisons = [
        {"where": where or {"lam": 0.1}, "control": control, "difference": made | {"p_value": p}}
        for control, p in zip(controls, p_values, strict=True)
    ]
    return evidence_page.finding({"comparisons": comparisons})


def test_the_content_matters_only_where_the_source_differs_from_every_control():
    assert found(0.01, 0.02, 0.03, 0.04)[0] == "yes"
    answer, sentence = found(0.01, 0.02, 0.03, 0.06)
    assert answer == "no evidence" and "reach from −1.00 to +3.00 points" in sentence
    answer, sentence = found(0.01, 0.02, 0.03, 0.06, ci95=None)
    assert answer == "no evidence" and "reach" not in sentence
    assert found(0.01, controls=["shrink"])[0] == "cannot tell"


def test_a_fitted_source_must_differ_from_fitted_controls():
    fitted = evidence_page.FITTED_CONTROLS
    assert found(0.01, 0.02, controls=fitted)[0] == "yes"
    assert found(0.01, 0.02, controls=fitted, where={"align": "procrustes"})[0] == "yes"
    assert found(0.01, 0.02, controls=fitted, where={"align": "none"})[0] == "cannot tell"


def test_differences_in_both_directions_are_no_evidence():
    one, other = ({"absolute": sign * 0.02, "p_value": 0.01} for sign in (1, -1))
    assert evidence_page.largest_p([one, one]) == 0.01
    assert evidence_page.largest_p([one, other]) == 1.0
