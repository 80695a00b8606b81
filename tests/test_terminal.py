"""What a person sees is never cut, however narrow the terminal, and in a pipe it is written in full."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from mam.report.layout import fitted
from mam.terminal import Terminal, explained, interval, percent, plain_table, points, relative, wrapped

CELLS = [["lam0", "24.18 %", "-0.43", "[-1.06, +0.20]"], ["lam1", "24.03 %", "-0.57", "[-1.84, +0.70]"]]
HEADS = ["run", "WER", "Δ points", "95 %"]


def made():
    table = plain_table(*((head, "right") for head in HEADS))
    for row in CELLS:
        table.add_row(*row)
    return table


def shown(capsys, width: int | None) -> str:
    terminal = Terminal()
    terminal._out = Console(force_terminal=width is not None, width=width, highlight=False, color_system=None)
    terminal.table("a title", made())
    return capsys.readouterr().out


def test_cells_and_lines_cannot_steer_the_terminal(capsys):
    terminal, table = Terminal(), plain_table(("a", "left"))
    table.add_row("\x1b[31mred \u202e")
    terminal.table("title \x07", table)
    terminal.say("[bold]\x1b]0;title\x07")
    terminal.error("\x9b")
    out, err = capsys.readouterr()
    assert "\\x1b[31mred \\u202e" in out and "title \\x07" in out and "[bold]\\x1b]0;title\\x07" in out
    assert "\\x9b" in err and "\x9b" not in err and "\x1b" not in out


@pytest.mark.parametrize("width", [None, 120, 60, 40, 30, 24, 20])
def test_no_number_is_cut(capsys, width):
    text = shown(capsys, width)
    assert "…" not in text
    joined = re.sub(r"\s+", " ", text)
    assert all(cell in joined for row in CELLS for cell in row)
    if width is not None:
        assert max(map(len, text.splitlines())) <= width


def test_a_narrow_terminal_gets_parts_that_begin_with_the_first_column(capsys):
    lines = shown(capsys, 30).splitlines()
    assert sum("lam0" in line for line in lines) == 2 and "24.18 %" in lines[3]


@pytest.mark.parametrize("width", [1, 5, 9])
def test_a_terminal_narrower_than_a_number_wraps_by_itself(capsys, width):
    text = shown(capsys, width)
    assert "…" not in text and "lam0" in text.replace("\n", "").replace(" ", "")


def test_columns_that_say_the_same_leave_first():
    columns = [("model", "left"), ("same", "left"), ("lam", "left"), ("p", "right")]
    rows = [["m" * 30, "s" * 40, str(i), "0.5"] for i in range(2)]
    assert [column.header for column in fitted(columns, rows, ("p",)).columns] == ["model", "lam"]
    rows[1][1] = "t" * 40
    assert [column.header for column in fitted(columns, rows, ("p",)).columns] == ["model", "same", "lam"]
    assert len(fitted(columns, rows[:1], ("p",)).columns) == 3


@given(st.lists(st.lists(st.text("ab01 %", max_size=40), min_size=3, max_size=3), min_size=1, max_size=4))
def test_fitted_never_drops_what_is_needed(rows):
    columns = [("a", "left"), ("b", "left"), ("c", "left")]
    kept = [column.header for column in fitted(columns, rows, ("c",)).columns]
    varied = [name for i, (name, _) in enumerate(columns[:2]) if i == 0 or len({row[i] for row in rows}) > 1]
    assert set(varied) <= set(kept)


def test_names_are_explained_beside_or_below():
    entries = {"a": "one two three four five six seven", "much_longer": "short", "none": ""}
    assert explained(entries, 28, most=4) == [
        "  a     one two three four",
        "        five six seven",
        "  much_longer",
        "        short",
        "  none",
    ]
    assert explained({"a": "one two"}, 80, indent=0) == ["a  one two"] and explained({}, 80) == []
    assert explained({"a": f"in {'x' * 30}"}, 25, indent=0) == ["a  in", f"   {'x' * 30}"], "no word is split"


def test_where_no_progress_is_drawn_lines_say_what_is_being_done(capsys, monkeypatch):
    monkeypatch.setattr("mam.terminal.HEARTBEAT", 0.05)
    terminal = Terminal()
    with terminal.begin("mam run 'a\x1bb'"):
        assert capsys.readouterr().err == "mam run 'a\\x1bb'\n"
        with terminal.progress("baseline", 90) as advance:
            advance(12, 30.0)
            with terminal.status("loading models"):
                time.sleep(0.12)
            time.sleep(0.12)
    text = capsys.readouterr().err
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
    assert re.search(r"^0:00 loading models\n", text) and text.endswith("0:00 baseline: 12 of 90 clips\n")
    drawing = Terminal()
    drawing._err = Console(stderr=True, force_terminal=True)
    with Terminal(quiet=True).begin("mam run"), drawing.begin("mam run"):
        time.sleep(0.12)
    assert "mam run" not in capsys.readouterr().err


def test_numbers_have_two_decimals_and_a_true_minus():
    assert [percent(0.2461), percent(1.236)] == ["24.61 %", "123.60 %"]
    assert [points(-0.0057), points(0.0027), points(None)] == ["−0.57", "+0.27", "–"]
    assert relative(-0.0233) == "−2.33 %" and interval((-0.0184, 0.007)) == "[−1.84, +0.70]"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("note    one two three four", ["note    one two", "        three four"]),
        ("  - one two three four", ["  - one two three", "    four"]),
        ("a long sentence without a label", ["a long sentence", "without a label"]),
        ("files   /a/path/wider/than/the/line", ["files   /a/path/wider/than/the/line"]),  # it can be copied
    ],
)
def test_wrapped_lines_keep_their_indent(text, lines):
    assert wrapped(text, 18) == lines


@given(st.text("ab -\n…字", max_size=80), st.integers(8, 40))
def test_wrapping_loses_no_word_and_splits_none(text, width):
    lines = wrapped(text, width)
    assert " ".join(lines).split() == text.split()
    assert all(cell_len(line) <= width or len(line.split()) <= 2 for line in lines)


def test_messages_are_wrapped_between_words(capsys, monkeypatch):
    terminal = Terminal()
    terminal._err = Console(stderr=True, force_terminal=True, width=24, color_system=None)
    terminal.error("2 problems:\n  - data=x: choose one of: alpha, beta, gamma")
    assert capsys.readouterr().err.splitlines() == [
        "error: 2 problems:",
        "  - data=x: choose one",
        "    of: alpha, beta,",
        "    gamma",
    ]


@pytest.mark.parametrize(
    ("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_only_where_they_are_wanted(capsys, monkeypatch, environment, is_coloured):
    for name, value in ({"TERM": "xterm-256color"} | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    terminal = Terminal()
    terminal.say("Δ", "green")
    assert "\x1b" not in capsys.readouterr().out, "a pipe"
    terminal._out = Console(force_terminal=True, width=80)
    terminal.say("Δ", "green")
    terminal.table("t", fitted([("a", "left"), ("Δ points", "right")], [["x", "+1.00"]], (), ["red"]))
    out = capsys.readouterr().out
    assert ("\x1b[32m" in out) == ("\x1b[31m" in out) == is_coloured


def test_a_training_counts_steps(capsys, monkeypatch):
    monkeypatch.setattr("mam.terminal.HEARTBEAT", 0.05)
    terminal = Terminal()
    with terminal.begin("mam run"), terminal.progress("training", 60, "steps") as advance:
        advance(5, 0.0)
        time.sleep(0.12)
    assert "training: 5 of 60 steps" in capsys.readouterr().err
