"""Small files from outside: what is read, and every reason for which a file is refused."""

from __future__ import annotations

import json
import os
import socket
import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mam import small_files
from mam.errors import MamError, shown
from mam.small_files import (
    DEPTH,
    check_yaml,
    open_regular,
    parse_json,
    read_bytes,
    read_json,
    read_jsonl,
    read_text,
    read_yaml_text,
    text_lines,
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").write_text("a secret")
    return tmp_path / "data"


def refused(path: Path, reason: str, read=read_text, **options) -> None:
    with pytest.raises(MamError) as caught:
        read(path, **options)
    assert shown(str(path)) in str(caught.value)
    assert reason in str(caught.value)


def test_no_more_memory_is_taken_than_there_are_bytes(folder):
    (folder / "a").write_bytes(b"123")
    tracemalloc.start()
    try:
        assert read_bytes(folder / "a", small_files.LARGE) == b"123"
        assert tracemalloc.get_traced_memory()[1] < 2 * small_files.MB
    finally:
        tracemalloc.stop()


def test_a_regular_file_is_read(folder):
    (folder / "a").write_bytes(b"\xef\xbb\xbf\xce\xbb\r\n")
    assert read_bytes(folder / "a") == b"\xef\xbb\xbf\xce\xbb\r\n"
    assert read_text(folder / "a") == "λ\r\n"
    assert read_text(folder / "a", within=folder.parent) == "λ\r\n"


def test_what_is_no_regular_file_does_not_block(folder):
    os.mkfifo(folder / "pipe")
    refused(folder / "pipe", "is not a regular file")
    refused(Path("/dev/zero"), "is not a regular file")
    refused(folder, "is not a regular file")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        refused(folder / "socket", "No such device")
    refused(folder / "missing", "No such file")
    refused(folder / "missing" / "\0", "embedded null")
    (folder / "circle").symlink_to("circle")
    refused(folder / "circle", "symbolic links")
    refused(folder / "circle", "", within=folder)


def test_a_link_may_not_leave_its_folder(folder):
    (folder / "link").symlink_to("../secret")
    assert read_text(folder / "link") == "a secret"
    refused(folder / "link", "a link to a place outside", within=folder)
    (folder / "own").write_text("own")
    (folder / "inner").symlink_to("own")
    assert read_text(folder / "inner", within=folder) == "own"


def test_sizes_are_limited(folder):
    (folder / "a").write_bytes(b"12345")
    assert read_bytes(folder / "a", limit=5) == b"12345"
    refused(folder / "a", "has 5 bytes. Such a file may have at most 4 bytes", limit=4)
    refused(Path("/proc/self/status"), "has more than 4 bytes", limit=4)  # has no size of its own
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**40)
    refused(folder / "sparse", "has 1,048,576 MB. Such a file may have at most 64 MB")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "not UTF-8 text (byte 0)"),
        (b"{", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b"[1e999]", "the number 1e999 is too large"),
        (b'{"a": "\\ud800"}', "has invalid Unicode characters"),
        (b'{"\\ud800": 1}', "has invalid Unicode characters"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), f"more than {DEPTH} levels"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "integer string conversion"),
    ],
)
def test_what_is_no_json(folder, content, reason):
    (folder / "a.json").write_bytes(content)
    refused(folder / "a.json", reason, read_json)


def test_json_as_deep_as_allowed_and_keys_that_occur_twice():
    assert json.dumps(parse_json("[" * DEPTH + "]" * DEPTH, "here")) == "[" * DEPTH + "]" * DEPTH
    assert parse_json('{"a": 1, "a": 2}', "here") == {"a": 2}
    with pytest.raises(MamError, match="here: cannot be read as JSON .a key occurs twice"):
        parse_json('{"a": 1, "a": 2}', "here", is_distinct=True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
)


@given(json_values)
def test_json_is_what_was_written(value):
    assert parse_json(json.dumps(value), "here") == value


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_other_text_is_an_error_with_its_place(text):
    for parse in (parse_json, check_yaml):
        try:
            parse(text, "here")
        except MamError as error:
            assert str(error).startswith("here: ")


def test_lines_of_json(folder):
    path = folder / "a.jsonl"
    path.write_text('{"a": 1}\n{"b": "\\u2028"}\r\n')
    assert read_jsonl(path) == [{"a": 1}, {"b": "\u2028"}]
    for line, reason in {
        "[]": "is a JSON list",
        "": "cannot be read",
        "{": "cannot be read",
        "3": "is a JSON int",
    }.items():
        path.write_text(f'{{"a": 1}}\n{line}\n{{}}\n')
        refused(path, f"line 2: {reason}", read_jsonl)


def test_lines_of_text(folder, monkeypatch):
    path = folder / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\x0b\xe2\x80\xa8\n\nlast")
    assert list(text_lines(path)) == [(1, "one"), (2, "two\x0b\u2028"), (3, ""), (4, "last")]
    path.write_bytes(b"one\n\xff\n")
    refused(path, "line 2: is not UTF-8 text", lambda each: list(text_lines(each)))
    monkeypatch.setattr(small_files, "LINE", 10)
    path.write_bytes(b"0123456789\n")
    refused(path, "line 1: has more than 10 bytes", lambda each: list(text_lines(each)))


def test_a_file_that_is_opened_is_closed_when_refused(folder):
    (folder / "a").write_bytes(b"12")
    before = os.listdir("/proc/self/fd")
    refused(folder / "a", "may have at most 1 bytes", open_regular, limit=1)
    refused(folder, "is not a regular file", open_regular)
    assert os.listdir("/proc/self/fd") == before


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "more than 100000 values"),
        ("a: &a [*a]", "an alias contains itself"),
        ("[" * 101 + "]" * 101, "more than 100 levels"),
        ("[" * 1_000_000, "more than 100 levels"),
        ("- " * 5_000 + "a", "more than 100 levels"),
        ("a: [", "not valid YAML"),
        ("a: *b", "not valid YAML"),
        ("\x07", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
    ],
)
def test_yaml_that_is_not_loaded(folder, text, reason):
    (folder / "a.yaml").write_text(text)
    refused(folder / "a.yaml", reason, read_yaml_text)


@given(json_values)
def test_yaml_of_plain_values_is_loaded(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    check_yaml(text, "here")


def test_aliases_within_bounds_are_allowed(folder):
    (folder / "a.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert yaml.safe_load(read_yaml_text(folder / "a.yaml")) == {"a": [1, 2], "b": [1, 2]}
