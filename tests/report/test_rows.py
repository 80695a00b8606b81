"""One row for every finished run: what stands in it, what is left out, and what is not imported for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.runs import mam, once

from mam.errors import RecordError
from mam.report.found import find_runs, left_out
from mam.report.rows import found_rows
from mam.report.run_list import list_table
from mam.terminal import Terminal


def test_a_row_has_what_the_result_says(odd_words):
    outcome = once([*odd_words, "lam=0.3", "schedule=linear", "layers=top2", "control=shrink", "seed=4"])
    (row,) = found_rows([Path("outputs")]).runs
    result = json.loads((outcome.folder / "result.json").read_text())
    assert row.folder == str(outcome.folder) and row.hash == result["hash"] and row.command == result["command"]
    assert (row.model, row.data, row.split, row.n) == ("demo_hubert_bert", "audiofolder", "all", 5)
    assert (row.target, row.source) == (result["model"]["target"]["id"], result["model"]["source"]["id"])
    lams = result["merge"]["lam"]
    merged = [lams[layer] for layer in result["merge"]["layers"]]
    assert len(set(merged)) == 2 and row.lam is None and row.lam_mean == pytest.approx(sum(merged) / 2)
    assert (row.schedule, row.control, row.method, row.align) == ("linear", "shrink", "linear", "none")
    assert (row.parts, row.pairing, row.train, row.tune, row.seed) == ("qkv", "index", "none", "none", 4)
    assert (row.rate, row.baseline) == (result["metrics"]["wer"], result["baseline"]["wer"])
    delta = result["delta"]
    assert (row.delta, row.p_value, row.units, row.unit) == (delta["absolute"], delta["p_value"], 5, "utterance")
    assert [row.ci_low, row.ci_high] == (delta["ci95"] or [None, None])
    assert (row.changed, row.better, row.worse) == (delta["changed"], delta["better"], delta["worse"])
    assert row.dev_rate is None and row.language == result["data"]["language"] and row.metric == "wer"
    written = datetime.fromtimestamp((outcome.folder / "result.json").stat().st_mtime)
    assert abs(row.when - written) < timedelta(seconds=10)  # it is the start, as nothing is logged in a test


def test_the_newest_stands_first_and_a_copy_keeps_its_time(swept):
    found = found_rows([swept]).runs
    assert [(row.lam, row.control) for row in found] == [
        (0.6, "shrink"),
        (0.6, "none"),
        (0.3, "shrink"),
        (0.3, "none"),
        (0, "none"),
    ]
    first = Path(found[-1].folder)
    (first / "mam.log").write_text("2001-02-03 04:05:06,789 INFO mam: x\n" * 2)
    os.utime(first / "result.json")
    copied = shutil.copytree(first, swept / "copy")
    assert [row.when for row in found_rows([swept]).runs[-2:]] == [datetime(2001, 2, 3, 4, 5, 6)] * 2
    (copied / "mam.log").write_text("no time")
    os.utime(copied / "result.json", (10**9, 10**9))
    assert found_rows([copied]).runs[0].when == datetime.fromtimestamp(10**9)


def test_overlapping_folders_count_a_run_once(swept, tmp_path):
    (tmp_path / "link").symlink_to(swept.absolute())
    assert len(found_rows([swept, swept.absolute(), tmp_path / "link"]).runs) == 5


def test_what_cannot_be_used_is_counted_and_named(swept, capsys):
    folders = sorted(path.parent for path in swept.rglob("result.json"))
    (folders[0] / "result.json").write_text("{ broken")
    (folders[1] / "result.json").unlink()
    found = found_rows([swept])
    assert (
        len(found.runs) == 3
        and found.unfinished == [folders[1]]
        and [p for p, _ in found.broken] == [folders[0] / "result.json"]
    )
    first, second = left_out(found.unfinished, found.broken)
    assert first == f"1 unfinished: {folders[1]}" and second.startswith(f"1 unreadable: {folders[0]}/result.json: ")
    assert left_out([Path(f"r{i}") for i in range(12)], []) == [
        "12 unfinished: r0; r1; r2; r3; r4; r5; r6; r7; r8; r9 and 2 more"
    ]
    with pytest.raises(RecordError, match=r"^none: there is no such folder\.$"):
        find_runs([swept, Path("none")], str)


def test_lines_fit_eighty_columns_and_names_are_not_markup(odd_words, capsys):
    once([*odd_words, "lam=0", 'data.name="[b]x"'])
    once([*odd_words, "lam=0.5", "control=shrink"])
    Terminal().table("runs", list_table(found_rows([Path("outputs")]).runs, False))
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    assert shown[2].split()[:5] == ["when", "pair", "data", "λ", "Δ"]
    assert (
        " 0.5 shrink  " in shown[3] and "[b]x" in shown[4] and shown[4].split(" 0 ")[1].strip().startswith("baseline ")
    )


def test_the_verb(swept):
    shown = mam("ls")
    assert shown.returncode == 0 and shown.stderr == ""
    assert "\n5 finished runs in outputs, newest first\n" in shown.stdout and len(shown.stdout.splitlines()) == 8
    listed = json.loads(mam("ls", swept, "--json").stdout)
    assert [row["lam"] for row in listed] == [0.6, 0.6, 0.3, 0.3, 0] and Path(listed[0]["folder"]).is_dir()
    assert listed[0]["folder"] in mam("ls", "--long").stdout
    next(swept.rglob("result.json")).write_text("{")
    broken = mam("ls", "--json")
    assert len(json.loads(broken.stdout)) == 4 and broken.stderr.startswith("1 unreadable: ")
    assert "1 unreadable: " in mam("ls").stdout
    assert mam("ls", "nowhere").returncode == 1 and mam("ls", "x=1").returncode == 2
    Path("empty").mkdir()
    assert mam("ls", "empty").stdout == "0 finished runs in empty\n" and mam("ls", "empty", "--json").stdout == "[]\n"


def test_nothing_that_computes_is_imported(swept):
    code = (
        "import sys; from mam.verbs.ls import main; assert main([]) == 0;"
        " print(sorted({'torch', 'transformers', 'datasets', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
