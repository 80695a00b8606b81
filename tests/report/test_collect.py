"""Which runs a report has, which it leaves out and says so, and what stands in its files."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.runs import mam, once

from mam.errors import RecordError
from mam.report.collect import collect
from mam.report.group_table import group_table
from mam.report.page import write_report
from mam.scoring.significance import holm
from mam.studies.evidence import compared


def test_runs_are_grouped_by_what_may_be_compared(swept, odd_words):
    once([*odd_words, "lam=0.3", "data.limit=3"])
    found = collect([swept])
    assert [len(group.runs) for group in found.groups] == [5, 1] or [len(g.runs) for g in found.groups] == [1, 5]
    group = max(found.groups, key=lambda one: len(one.runs))
    assert group.varied == ["lam", "control"]
    assert [(run.traits["lam"], run.traits["control"]) for run in group.runs] == [
        ("0", "none"),
        ("0.3", "none"),
        ("0.3", "shrink"),
        ("0.6", "none"),
        ("0.6", "shrink"),
    ]
    assert any("2 tables, because runs on other data" in remark for remark in found.remarks)
    expected = holm([run.result.delta.p_value for run in group.runs[1:]])
    assert list(group.adjusted.values()) == expected


def test_what_cannot_be_used_is_counted_and_named(swept):
    folders = sorted(path.parent for path in swept.rglob("result.json"))
    (folders[0] / "result.json").write_text("{ broken")
    other = json.loads((folders[1] / "result.json").read_text()) | {"schema": 2}
    (folders[1] / "result.json").write_text(json.dumps(other))
    (folders[2] / "result.json").unlink()
    shutil.copytree(folders[3], swept / "again" / folders[3].name)
    found = collect([swept, swept])
    assert len(found.runs) == 2 and len(found.broken) == 2 and found.unfinished == [folders[2]] and found.repeated == 1
    text = "\n".join(found.remarks)
    assert f"1 unfinished: {folders[2]}" in text and "2 unreadable" in text
    assert "cannot be read as JSON" in text and "has schema version 2, but this version of mam reads 1" in text
    assert "1 repetition of the same run left out" in text


def test_of_repeated_runs_one_with_a_rate_on_dev_is_kept(swept):
    """It is not part of the hash, and without it the best on dev would be the best of some."""
    first = min(path.parent for path in swept.rglob("result.json"))
    result = json.loads((first / "result.json").read_text())
    shutil.copytree(first, swept / "later" / first.name)  # newer, and without dev
    dev = {"metric": "wer", "rate": 0.25, "n": 5, "note": None, "data": result["data"]["sha256"]}
    (first / "result.json").write_text(json.dumps(result | {"dev": dev}))
    os.utime(first / "result.json", (1, 1))
    found = collect([swept])
    assert found.repeated == 1 and [run.folder for run in found.runs if run.result.dev_rate == 0.25] == [first]


def test_nothing_to_report_is_said(tmp_path):
    with pytest.raises(RecordError, match="there is no such folder"):
        collect([tmp_path / "none"])
    with pytest.raises(RecordError, match="contains no finished run"):
        collect([tmp_path])


def test_tables_agree_with_the_results(swept, tmp_path):
    found = collect([swept])
    (group,) = found.groups
    write_report(found, tmp_path)
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 5
    table = group_table(group)
    for row, run in zip(rows, group.runs, strict=True):
        assert float(row["rate"]) == run.result.metrics.wer and row["folder"] == str(run.folder)
        assert float(row["absolute"]) == run.result.delta.absolute and row["hash"] == run.result.hash
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2] == "| " + " | ".join(table.headings) + " |" and len(lines) == 4 + 5
    assert [cell.strip() for cell in lines[4].strip("|").split("|")][:4] == table.cells[0][:4]
    assert table.headings[:5] == ["λ", "control", "Δ points", "95 %", "WER"]
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"g1-curve.png", "g1-forest.png"}


class Structure(HTMLParser):
    """Elements, ids and text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.links, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        named = dict(attrs)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named[key] for key in ("src", "href", "xlink:href") if key in named]


def test_the_page_needs_nothing_and_escapes_everything(swept, tmp_path):
    page = write_report(collect([swept]), tmp_path).read_text(encoding="utf-8")
    parsed = Structure()
    parsed.feed(page)
    assert parsed.tags.count("script") == 1, "what a transcript says is not run"
    assert "&lt;script&gt;alert" in page and "שלום עולם 🎉" in page and 'dir="auto"' in page
    assert not any("://" in link.removeprefix("file://") for link in parsed.links), "no network"
    links = [unquote(link.removeprefix("file://")) for link in parsed.links if not link.startswith(("#", "data:"))]
    places = [tmp_path / link for link in links]
    assert len([place for place in places if (place / "result.json").exists()]) == 2 * 5, "in the table and below it"
    assert all(place.exists() for place in places) and any(place.suffix == ".wav" for place in places)
    assert len(parsed.ids) == len(set(parsed.ids)), "ids are unique"
    assert parsed.tags.count("svg") == 2 and page.count('role="img" aria-label="') == 2
    assert not re.search(r"url\((?!#g1-)", page)
    for run in collect([swept]).runs:
        assert run.result.command.split()[-1] in page
    assert "None of 4 merges (controls included) was shown" in page and "Too few controls to tell" in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_the_verb(swept):
    shown = mam("report", swept)
    assert shown.returncode == 0 and shown.stderr == ""
    assert "outputs/report/report.html" in shown.stdout and max(map(len, shown.stdout.splitlines()[:9])) <= 80
    again = mam("report", swept)
    assert again.stdout == shown.stdout, "a report is no run"
    wrong = mam("report")
    assert wrong.returncode == 2 and "mam report DIR" in wrong.stderr


def test_sounds_have_their_confusions(event_words, tmp_path):
    once([*event_words, "lam=0.4", "evaluate.draws=200"])
    page = write_report(collect([Path("outputs")]), tmp_path).read_text(encoding="utf-8")
    assert page.count('aria-label="Confusion matrix') == 2 and '<th scope="row">buzz</th>' in page


def test_a_control_is_paired_by_the_parts_that_were_asked_for(words):
    """With parts=kv and parts=qkv in one folder `shrink_v` merges V alone of either, and each has its own source."""
    runs = {}
    for parts in ("kv", "qkv"):
        for control in ("none", "shrink_v", "add"):
            asked = [*words, "lam=0.5", f"parts={parts}", f"control={control}", "evaluate.draws=200"]
            runs[parts, control] = once(asked)
    merges = {key: outcome.result.merge for key, outcome in runs.items()}
    assert [(merges[p, "shrink_v"].parts, merges[p, "shrink_v"].parts_asked) for p in ("kv", "qkv")] == [
        ("v", "kv"),
        ("v", "qkv"),
    ]
    (group,) = collect([Path("outputs")]).groups
    assert {run.traits["parts"] for run in group.runs} == {"kv", "qkv", "v of kv", "v of qkv"}
    rate = {key: outcome.result.metrics.wer for key, outcome in runs.items()}
    found = {(one.where["parts"], one.control): one.difference.absolute for one in compared(group.merged())}
    assert found == pytest.approx(
        {(p, c): rate[p, "none"] - rate[p, c] for p in ("kv", "qkv") for c in ("shrink_v", "add")}
    )
    for outcome in runs.values():  # results of before do not say it: of qkv, as they were taken for then
        path = outcome.folder / "result.json"
        result = json.loads(path.read_text())
        del result["merge"]["parts_asked"]
        path.write_text(json.dumps(result))
    (group,) = collect([Path("outputs")]).groups
    old = [(one.where["parts"], one.control) for one in compared(group.merged()) if one.control == "shrink_v"]
    assert old == [("qkv", "shrink_v")]  # and the two are then one and the same merge, of V alone


def test_two_normalizers_never_stand_in_one_table(words):
    """Of a text without punctuation or capitals they make the same, and yet count apart what others have."""
    for normalizer in ("basic", "hubert_english"):
        for lam in (0, 0.5):
            once([*words, f"lam={lam}", f"data.normalizer={normalizer}", "evaluate.draws=200"])
    found = collect([Path("outputs")])
    used = [{run.result.data.normalizer for run in group.runs} for group in found.groups]
    assert sorted(map(sorted, used)) == [["basic"], ["hubert_english"]]
    assert [len(group.runs) for group in found.groups] == [2, 2]
