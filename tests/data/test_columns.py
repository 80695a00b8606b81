"""Columns by name and by their usual names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mam.config.data import ColumnsConfig
from mam.data.columns import USUAL, find_columns
from mam.data.splits import split_of, splits_by_name
from mam.errors import DataError


@pytest.mark.parametrize(
    ("present", "names"),
    [
        (["file_name", "transcription"], {"audio": "file_name", "text": "transcription"}),
        (["client_id", "path", "sentence"], {"audio": "path", "text": "sentence", "speaker": "client_id"}),
        (["Audio", "Text"], {"audio": "Audio", "text": "Text"}),
        (["audio_filepath", "duration", "text"], {"audio": "audio_filepath", "text": "text"}),
        (["x", "y"], {}),
    ],
)
def test_usual_names(present, names):
    assert find_columns(ColumnsConfig(), present, "t").names == names


def test_a_named_column_is_not_taken_twice():
    columns = find_columns(ColumnsConfig(id="path"), ["path", "file", "text"], "t")
    assert columns.names == {"audio": "file", "text": "text", "id": "path"}


def test_what_was_recognised_is_said():
    columns = find_columns(ColumnsConfig(), ["path", "raw_text", "sentence", "id"], "t")
    assert columns.said() == "audio from path; text from sentence, not raw_text; id from id"
    assert columns.said(but_for_own_names=True) == "audio from path; text from sentence, not raw_text"
    assert find_columns(ColumnsConfig(), ["file_name", "transcription"], "t").said(True) == ""


def test_a_missing_column_names_those_present():
    asked = ColumnsConfig(text="words", speaker="who")
    with pytest.raises(DataError, match=r"^t: has no column data.columns.text=words and data.columns.speaker=who. Its"):
        find_columns(asked, ["a", "b"], "t")


@given(st.lists(st.sampled_from([name for names in USUAL.values() for name in names] + ["x", "Text"]), unique=True))
def test_every_field_has_a_column_of_its_own(present):
    names = find_columns(ColumnsConfig(), present, "t").names
    assert set(names.values()) <= set(present) and len(set(names.values())) == len(names)
    assert all(name.casefold() in USUAL[kind] for kind, name in names.items())


def test_splits_by_their_names():
    assert [split_of(name) for name in ("test.clean", "dev_other", "train-360", "validation", "testing")] == [
        "test",
        "dev",
        "train",
        "dev",
        None,
    ]
    assert splits_by_name(["test", "test.other", "val"]) == {"dev": ["val"], "test": ["test"]}
    assert splits_by_name(["test.clean", "test.other"]) == {"test": ["test.clean", "test.other"]}
    assert splits_by_name(["eval"]) == {}
