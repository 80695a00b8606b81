"""The attacks of scripts/torture: the judge sees what did not hold, the shim fails the call that it was told."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from scripts.torture import judge, shim, warm  # noqa: E402
from scripts.torture.cases import Bad, Case  # noqa: E402
from scripts.torture.table import KINDS, all_cases  # noqa: E402
from scripts.torture.turn import NotHereError, take_turns  # noqa: E402
from scripts.torture.warm import Command, Seen  # noqa: E402
from scripts.torture.world import Place, World  # noqa: E402


def seen(code=1, out="", err="mam: lam=2: must be at most 1", cpu=0.1, end=""):
    return Seen(code, out, err, 0.1, cpu, 0, end)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (seen(), []),
        (seen(0, "fine", ""), []),
        (
            seen(err="Traceback (most recent call last):\nValueError: x"),
            ["Traceback (most recent call last): ValueError: x"],
        ),
        (seen(err="--- Logging error ---"), ["--- Logging error ---"]),
        (seen(err="mam: \x1b[31mred"), [r"stderr has the control character '\x1b'"]),
        (seen(0, "a\u202eb", ""), [r"stdout has the control character '\u202e'"]),
        (seen(0, "x" * 2001, ""), ["stdout has a line of 2001 characters"]),
        (seen(-11), ["died of signal 11"]),
        (seen(120), ["exit code 120"]),
        (seen(-9, end="not finished after 60 s"), ["killed: not finished after 60 s"]),
    ],
)
def test_the_judge_sees_how_a_command_ended(given, expected):
    found = list(judge.of_process(given))
    assert len(found) == len(expected)
    assert all(complaint.startswith(start) for complaint, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("given", "names", "expected"),
    [
        (seen(), ("lam",), []),
        (seen(), ("seed",), ["names none of ['seed']"]),
        (seen(err=""), (), ["no message"]),
        (seen(0, "done", ""), (), ["accepted"]),
        (seen(cpu=11), (), ["refused after 11 s of computing"]),
    ],
)
def test_the_judge_reads_a_refusal(given, names, expected):
    found = list(judge.of_refusal(given, names))
    assert [complaint[: len(start)] for complaint, start in zip(found, expected, strict=True)] == expected


def test_the_judge_sees_changed_removed_and_new_files(tmp_path):
    for name in ("kept", "changed", "touched", "removed"):
        (tmp_path / name).write_text("x")
    before = judge.snapshot(tmp_path)
    (tmp_path / "changed").write_text("y")
    os.utime(tmp_path / "touched", (1, 1))
    (tmp_path / "removed").unlink()
    os.mkfifo(tmp_path / "new")  # is not read
    after = judge.snapshot(tmp_path)
    assert list(judge.changes(before, after)) == [
        "changed: changed", "removed: removed", "changed: touched", "left behind: new",
    ]  # fmt: skip


def test_the_judge_sees_incomplete_runs_and_temporary_files(tmp_path):
    run = tmp_path / "2026-01-01" / "run"
    (run / ".hydra").mkdir(parents=True)
    (run / ".result.json.x1").write_text("{")
    (tmp_path / "empty").mkdir()
    assert list(judge.of_outputs(tmp_path)) == [
        "incomplete run left: 2026-01-01/run with ['.hydra', '.result.json.x1']",
        "empty folder left: 2026-01-01/run/.hydra",
        "temporary file left: 2026-01-01/run/.result.json.x1",
        "empty folder left: empty",
    ]
    (run / "result.json").write_text("{}")
    assert any("does not match the schema:" in complaint for complaint in judge.of_outputs(tmp_path))


def test_runs_that_differ_are_named():
    same, other = '{"metrics": {"wer": [1, 2]}}', '{"metrics": {"wer": [1, 3]}}'
    assert list(judge.differences({"a" * 9: same}, {"a" * 9: same})) == []
    assert list(judge.differences({"a" * 9: same}, {"a" * 9: other})) == [
        "run aaaaaaaa differs from the undisturbed one in .metrics.wer[1] (2 became 3)"
    ]
    assert list(judge.differences({"a" * 9: same}, {})) == ["there is no run aaaaaaaa"]
    assert list(judge.differences({"a" * 9: same}, {}, is_whole=False)) == []
    assert list(judge.differences({}, {"b": same})) == ["there is a run b that the undisturbed command does not make"]


WRITE = """
import os, sys
sys.path.insert(0, {root!r})
from scripts.torture import shim
shim.watch(shim.Path({folder!r}), shim.Fault(({kind!r},), {nth}, "ENOSPC", {lasting}, {kills}))
told = []
for number in range(4):
    try:
        with open({folder!r} + f"/{{number}}", "w") as file:
            file.write("x")
        told.append("ok")
    except OSError as error:
        told.append(error.strerror)
print(told, shim.failed().partition(" ")[0], shim.seen()["open"], flush=True)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = shim.build(tmp_path_factory.mktemp("shim"))
    if built is None:
        pytest.skip("no C compiler")
    return built


def shimmed(library, folder, kind, nth, lasting=False, kills=False):
    code = WRITE.format(root=str(ROOT), folder=str(folder), kind=kind, nth=nth, lasting=lasting, kills=kills)
    environment = os.environ | {"LD_PRELOAD": str(library)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


FULL = "No space left on device"


@pytest.mark.parametrize(
    ("kind", "nth", "lasting", "told"),
    [
        ("open", 2, False, ["ok", FULL, "ok", "ok"]),
        ("open", 3, True, ["ok", "ok", FULL, FULL]),
        ("write", 1, False, [FULL, "ok", "ok", "ok"]),
        ("rename", 1, True, ["ok", "ok", "ok", "ok"]),
    ],
)
def test_the_shim_fails_the_call_it_was_told(library, tmp_path, kind, nth, lasting, told):
    shown = shimmed(library, tmp_path, kind, nth, lasting)
    assert shown.stdout.strip() == f"{told} {kind if FULL in told else ''} 4", shown.stderr


def test_the_shim_kills_at_the_call_it_was_told(library, tmp_path):
    assert shimmed(library, tmp_path, "open", 3, kills=True).returncode == -9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_what_lies_elsewhere_is_not_counted(library, tmp_path):
    (tmp_path / "watched").mkdir()
    shown = shimmed(library, tmp_path / "watched", "open", 1)
    assert shown.stdout.startswith(f"['{FULL}'")
    code = WRITE.format(root=str(ROOT), folder=str(tmp_path), kind="open", nth=1, lasting=True, kills=False)
    code = code.replace("shim.Path(", "shim.Path('/nowhere' + ")
    environment = os.environ | {"LD_PRELOAD": str(library)}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert other.stdout.strip() == "['ok', 'ok', 'ok', 'ok']  0", other.stderr


def test_there_are_enough_cases_and_each_has_its_own_name():
    cases = all_cases(0)
    names = [(case.kind, case.name) for case in cases]
    assert len(set(names)) == len(names)
    assert {case.kind for case in cases} == set(KINDS)
    assert sum(case.kind == "bad input" for case in cases) >= 600
    assert {case.kind for case in cases if case.is_quick} == set(KINDS)


def _hangs(place):
    time.sleep(60)
    return []


def _not_here(place):
    raise NotHereError("no such machine")


def test_cases_that_hang_die_or_are_not_possible_are_told_apart(tmp_path):
    cases = [
        Case("kind", "holds", lambda place: []),
        Case("kind", "does not", lambda place: ["seen"]),
        Case("kind", "hangs", _hangs, seconds=0.5),
        Case("kind", "dies", lambda place: os._exit(3)),
        Case("kind", "fails", lambda place: 1 / 0),
        Case("kind", "elsewhere", _not_here),
    ]
    verdicts = {verdict.case.name: verdict for verdict in take_turns(cases, World(tmp_path), 2, time.monotonic() + 50)}
    assert verdicts["holds"].complaints == () == verdicts["elsewhere"].complaints
    assert verdicts["does not"].complaints == ("seen",)
    assert verdicts["hangs"].complaints == ("the case did not end within 1 s",)
    assert verdicts["dies"].complaints == ("the case died",)
    assert verdicts["fails"].complaints[0].startswith("the harness failed: ZeroDivisionError")
    assert verdicts["elsewhere"].skipped == "no such machine"
    late = take_turns(cases[:1], World(tmp_path / "late"), 1, time.monotonic() - 1)
    assert late[0].skipped == "no time was left"


@pytest.mark.parametrize(
    ("code", "seconds", "end"),
    [
        ("while True: pass", 1, "not finished after"),
        ("held = []\nwhile True: held.append(b'x' * 10**7)", 120, "GB"),
    ],
)
def test_a_command_that_takes_too_much_is_ended(tmp_path, code, seconds, end):
    place = Place(World(tmp_path), tmp_path / "place")
    memory = 2**28 + warm.resident(os.getpid())  # of which its process is a fork for a moment
    told = place.do(Command(code=code, is_cold=True, seconds=seconds, memory=memory))
    assert end in told.end
    assert list(judge.of_process(told)) == [f"killed: {told.end}"]


def test_a_row_of_a_table_is_judged_by_what_the_command_leaves(tmp_path):
    row = Bad(
        "x", code="open('new', 'w').write('x'); import sys; sys.exit('\\x1b[31mbad')", is_cold=True, names=("lam",)
    )
    complaints = row.case("bad input").act(Place(World(tmp_path), tmp_path / "place"))
    starts = ["names none of ['lam']", "stderr has the control character", "left behind: work/new"]
    assert [complaint[: len(start)] for complaint, start in zip(complaints, starts, strict=True)] == starts


def test_memory_counts_children():
    assert warm.resident(os.getpid()) > 10**7
