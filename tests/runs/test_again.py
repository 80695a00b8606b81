"""`mam run --from RUN`: the same bytes, or what differs by name; nothing that a record names is executed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.audio import write_folder
from support.plugins import HALF, plugin
from support.runs import data_words, mam, once, pair_words

from mam.errors import ConfigError, RecordError
from mam.launch.again import run_again
from mam.records.reading import read_result
from mam.terminal import Terminal


class Said(Terminal):
    """A terminal that keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def changed(folder: Path, **values: object) -> None:
    path = folder / "result.json"
    content = json.loads(path.read_text())
    for place, value in values.items():
        part = content
        *above, last = place.split("__")
        for name in above:
            part = part[name]
        part[last] = value
    path.write_text(json.dumps(content))


def test_the_same_bytes(words):
    first = once([*words, "lam=0.3", "outputs=first"])
    terminal = Said()
    made = run_again(str(first.folder), ["outputs=second"], terminal)
    assert (made.differences, made.unequal) == ([], 0)
    assert made.outcome.status == "finished" and made.outcome.folder.parts[0] == "second"
    again = made.outcome.folder
    for name in ("predictions.jsonl", "baseline.jsonl", "lambda.csv", "attention.csv"):
        assert (again / name).read_bytes() == (first.folder / name).read_bytes()
    assert made.outcome.result.metrics == first.result.metrics


def test_a_member_of_a_study_is_made_without_the_study(hubert_group, bert, tmp_path):
    data = data_words(write_folder(tmp_path / "clips", [0.6, 0.9, 0.7]))
    axes = ["+study.axes.lam=[0,0.2]", "study.name=mine", "control=none", "threads=1"]
    study = mam("run", *pair_words(hubert_group, bert), *data, *axes)
    assert study.returncode == 0, study.stderr
    folders = [path.parent for path in Path("outputs").rglob("result.json")]
    folder = next(each for each in folders if "lam=0.2" in read_result(each).command)
    made = run_again(str(folder), ["outputs=again"], Said())
    assert (made.differences, made.unequal) == ([], 0)


def test_what_differs_is_named_first(words, clips, tmp_path):
    first = once([*words, "lam=0.3", "outputs=first"])
    changed(first.folder, env__torch="1.0.0", env__code__sha256="0" * 64, model__source__sha256="1" * 64)
    shutil.copy(clips / "clip0.wav", clips / "clip1.wav")
    terminal = Said()
    made = run_again(str(first.folder), ["lam=0.2", "outputs=second"], terminal)
    named = [difference.partition(":")[0] for difference in made.differences]
    assert named == ["mam's code", "torch", "model.source", "data", "lam"]
    assert terminal.lines[: len(named)] == [f"difference from {first.folder}: {each}" for each in made.differences]
    assert "lam: 0.3, now 0.2" in made.differences


def test_code_that_a_record_names_is_not_run(words, tmp_path):
    mine = plugin(HALF)
    first = once([*words, f"plugins=[{mine}]", "method=half", "lam=0.3", "outputs=first"])
    marker = tmp_path / "was-run"
    copy = first.folder / ".hydra" / "plugins" / mine.name
    copy.write_text(f"open({str(marker)!r}, 'w')\n{copy.read_text()}")
    refused = rf"used the plug-ins .*\. If you trust them, set plugins=\[...\]; copies: .*{mine.name}"
    with pytest.raises(ConfigError, match=refused):
        run_again(str(first.folder), [], Said())
    own = first.folder / ".hydra" / "own" / "method"
    own.mkdir(parents=True)
    (own / "half.yaml").write_text(f"# @package _global_\nplugins: ['{copy}']\n")
    changed(first.folder, extensions=None)
    with pytest.raises((ConfigError, RecordError)):
        run_again(str(first.folder), [], Said())
    assert not marker.exists()


def test_a_plugin_that_the_user_names_is_run(words):
    mine = plugin(HALF)
    first = once([*words, f"plugins=[{mine}]", "method=half", "lam=0.3", "outputs=first"])
    made = run_again(str(first.folder), [f"plugins=[{mine}]", "outputs=second"], Said())
    assert (made.differences, made.unequal) == ([], 0)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("mam run 'lam=0.1", "the recorded command cannot be read"),
        ("rm -rf /", "the recorded command is not `mam run`"),
        ("", "the recorded command is not `mam run`"),
    ],
)
def test_commands_that_are_none(words, command, message):
    first = once([*words, "lam=0.3", "outputs=first"])
    changed(first.folder, command=command)
    with pytest.raises(RecordError, match=message):
        run_again(str(first.folder), [], Said())
