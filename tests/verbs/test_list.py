"""`mam list`: every registry and every file of conf/, with a line about each."""

from __future__ import annotations

import json
from pathlib import Path

import mam.conf
import pytest

from mam.config.reference import line_about
from mam.config.search import FILE_GROUPS
from mam.errors import ConfigError
from mam.merging.tables import CONTROLS
from mam.models.families import TARGETS
from mam.scoring.text import NORMALIZERS
from mam.verbs.list import GROUPS, KINDS, main

CONF = Path(next(iter(mam.conf.__path__)))


def listed(capsys, kind: str) -> dict[str, str]:
    assert main([kind, "--json"]) == 0
    made: dict[str, str] = json.loads(capsys.readouterr().out)
    return made


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_choice_of_a_kind_has_one_line(capsys, kind):
    entries = listed(capsys, kind)
    assert entries and all(line.strip() and "\n" not in line for line in entries.values())
    assert main([kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(entries)


def test_what_is_listed_is_what_there_is(capsys):
    assert set(listed(capsys, "controls")) == set(CONTROLS)
    assert set(listed(capsys, "targets")) == set(TARGETS) and set(listed(capsys, "normalizers")) == set(NORMALIZERS)
    assert set(listed(capsys, "experiments")) == {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    assert listed(capsys, "layers")["odd"] == "layers 1, 3, 5, ..."
    assert listed(capsys, "sources")["bert"] == "text model"
    assert listed(capsys, "verbs")["ls"] == "list finished runs, one per line"


def test_every_group_of_files_is_a_kind():
    assert set(GROUPS.values()) == set(FILE_GROUPS) - {"method", "schedule"} and {"methods", "schedules"} <= set(KINDS)


def test_alone_it_counts_the_kinds(capsys):
    assert main([]) == 0
    *shown, empty, how = capsys.readouterr().out.splitlines()
    lines = [line.split() for line in shown]
    assert [kind for kind, _ in lines] == list(KINDS) and not empty and "mam list models" in how
    assert dict(map(tuple, lines))["controls"] == str(len(CONTROLS)) == "11"


@pytest.mark.parametrize("argv", [["foo"], ["models", "data"], ["models", "--fast"], ["kind=models"]])
def test_an_unknown_kind_is_an_error(argv):
    with pytest.raises(ConfigError) as caught:
        main(argv)
    if argv == ["foo"]:
        assert str(caught.value).startswith("foo: not known. Choose one of: alignments, controls, data, experiments")


def test_the_line_of_an_entry():
    def function():
        """Does it. Raises an error.

        More.
        """

    class Bare:
        __doc__ = None

    assert line_about(function) == "Does it" and line_about("A text.") == "A text" and line_about(Bare) == ""
    assert line_about(CONTROLS["shrink_v"]) == "Zeros for V only: smaller values, unchanged attention"


def test_formats_are_described_by_their_layouts(capsys):
    lines = listed(capsys, "formats")
    assert lines["kaldi"] == "Kaldi's data folders: wav.scp (recordings), text (transcripts) and utt2spk (speakers)"
    assert lines["ljspeech"].startswith("LJ Speech 1.1 in its official layout: metadata.csv")
    assert not [line for line in lines.values() if line.startswith("List ")]
