"""The index of runs that were read whole: it spares reading them again, and nothing else depends on it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mam.records.index import INDEX
from mam.report import runs
from mam.report.collect import collect


@pytest.fixture
def reads(monkeypatch):
    """The runs whose predictions were read."""
    made, read = [], runs.read_predictions

    def reading(folder):
        made.append(folder)
        return read(folder)

    monkeypatch.setattr(runs, "read_predictions", reading)
    return made


def test_a_run_is_read_whole_once_until_a_file_of_it_changes(swept, reads):
    folders = sorted(path.parent for path in swept.rglob("result.json"))
    first = collect([swept])
    assert sorted(reads) == folders and set(json.loads((swept / INDEX).read_text())["runs"]) == {
        str(folder.relative_to(swept)) for folder in folders
    }
    reads.clear()
    again = collect([swept])
    assert not reads and again.groups == first.groups
    (folders[0] / "predictions.jsonl").write_text("{ broken\n")
    (folders[1] / ".hydra" / "config.yaml").write_text("lam: [\n")
    found = collect([swept])
    assert sorted(reads) == folders[:2] and sorted(path.parent for path, _ in found.broken) == folders[:2]
    assert len(json.loads((swept / INDEX).read_text())["runs"]) == len(folders) - 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"runs": 3}', '{"code": "another", "runs": {"x": "y"}}', None])
def test_an_index_that_is_damaged_or_of_other_code_counts_as_none(swept, reads, content):
    collect([swept])
    count = len(reads)
    path = swept / INDEX
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text(content)
    assert collect([swept]).runs and len(reads) == 2 * count
    assert path.is_dir() == (content is None)


def test_what_a_killed_process_left_of_it_is_removed_also_where_nothing_has_changed(swept):
    collect([swept])
    left = swept / f".{INDEX}.12345678"
    left.write_text("{")
    time.sleep(1.1)  # younger files may be another process's that has just made them
    collect([swept])
    assert not left.exists()


def test_where_it_cannot_be_written_the_report_is_made_all_the_same(swept, monkeypatch):
    def full(path: Path, value: object) -> None:
        raise runs.MamError("no space")

    monkeypatch.setattr("mam.records.index.write_json", full)
    assert collect([swept]).runs and not (swept / INDEX).exists()
