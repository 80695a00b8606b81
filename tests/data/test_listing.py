"""What formats give is checked where it enters: plug-ins may give anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mam.config.data import DataConfig
from mam.data.corpus import open_corpus
from mam.data.listing import FORMATS, Example, Format, Listing, data_format, list_folder, without_ending
from mam.errors import DataError
from mam.registry import foreign, withdraw_one

GOOD = Example("a", "a.wav", "WORDS", "list, line 1")


@pytest.fixture
def given(monkeypatch, tmp_path):
    """List a folder in a format that gives these rows."""
    (tmp_path / "file").write_text("")

    def list_rows(rows):
        monkeypatch.setitem(FORMATS, "mine", Format(lambda root: Listing(rows, "rule"), "Ask us.", "Mine."))
        return list_folder("mine", tmp_path)

    return list_rows


MISFITS = [
    ({"text": None}, "list, line 1: text=None is not str$"),
    ({"audio": 3}, "list, line 1: audio=3 is not str$"),
    ({"id": b"a"}, "list, line 1: id=b'a' is not str$"),
    ({"place": None}, "None: place=None is not str$"),
    ({"fold": "x"}, r"list, line 1: fold='x' is not int \| None$"),
    ({"fold": True}, r"list, line 1: fold=True is not int \| None$"),
    ({"fold": 2**31}, "list, line 1: fold=2147483648 is not a number from 0 to 2147483647$"),
    ({"fold": -1}, "list, line 1: fold=-1 is not a number from 0"),
    ({"split": "eval"}, "list, line 1: split='eval' is not one of: dev, test, train$"),
    ({"split": ["test"]}, r"list, line 1: split=\['test'\] is not str \| None$"),
    ({"speaker": 7}, r"list, line 1: speaker=7 is not str \| None$"),
    ({"label": 1.5}, r"list, line 1: label=1.5 is not str \| None$"),
    ({"index": None}, "list, line 1: index=None is not int$"),
    ({"text": "\udce9"}, r"list, line 1: text='\\udce9' has invalid Unicode characters$"),
]


@pytest.mark.parametrize(("fields", "message"), MISFITS)
def test_a_field_of_another_type_is_named(fields, message, given):
    with pytest.raises(DataError, match=f"^data.format=mine: {message}"):
        given([replace(GOOD, id="b", place="list, line 0"), replace(GOOD, **fields)])


def test_all_misfits_are_listed_and_good_rows_pass(given):
    rows = [replace(GOOD, id=f"a{i}", split=split, fold=i) for i, split in enumerate((None, "train", "dev", "test"))]
    assert given(rows).rows == rows
    with pytest.raises(
        DataError, match=r"^2 problems:\n.*mine: list, line 1: audio=3 .*\n.*mine: list, line 1: fold='x'"
    ):
        given([*rows, replace(GOOD, audio=3), replace(GOOD, fold="x")])


@pytest.mark.parametrize("rows", [iter([GOOD]), (GOOD,), None, [None]])
def test_rows_are_a_list_of_examples(rows, given):
    with pytest.raises(
        DataError, match="data.format=mine: returns a Listing. It must return a Listing with a list of Examples"
    ):
        given(rows)


@pytest.mark.parametrize("root", ["a" * 5000, "a\0b", "~nosuchuser/x"])
def test_a_root_that_is_no_path(root):
    with pytest.raises(DataError, match="there is no such folder. It needs your recordings"):
        open_corpus(DataConfig(name="x", format="audiofolder", root=root))


def test_the_summary_of_a_format_is_given_or_the_docstring_or_what_it_needs():
    def list_it(root):
        """Rows of ``it``.

        More.
        """

    for number, summary in enumerate(("A layout with ``x``.\n\nMore.", None)):
        data_format(f"summarised{number}", "It needs x.", summary)(list_it)
    data_format("summarised2", "It needs x.")(lambda root: None)
    shown = [FORMATS[f"summarised{number}"].summary for number in range(3)]
    for entry in [entry for entry in foreign() if entry.name.startswith("summarised")]:
        withdraw_one(entry)
    assert shown == ["A layout with x.", "Rows of it.", "It needs x."]


@pytest.mark.parametrize(
    ("name", "short"),
    [("a/b.wav", "a/b"), ("b.c.wav", "b.c"), ("a", "a"), (".", "."), ("/", "/"), ("", "."), ("..", ".."), ("./", ".")],
)
def test_paths_without_endings(name, short):
    assert without_ending(name) == short
