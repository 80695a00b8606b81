"""Waiting for an array with a squeue that says what a test makes it say, on a clock that does not wait."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mam.config.search import ONLY_MAMS
from mam.errors import NotEndedError, StillQueuedError
from mam.launch import slurm, watch
from mam.launch.work import LaunchRequest, Submission

HELD = "launch failed requeued held"
RELEASE = f"Blocked in Slurm, cannot start by itself: 1 job, PENDING ({HELD}). Release: `scontrol release 7_0`"


@dataclass
class Slurm:
    """A clock, squeue's answers by second, and the jobs that leave a note in a second; what mam says and believes."""

    folder: Path
    answers: dict[int, str | None]
    ends: dict[str, int] = field(default_factory=dict)
    now: float = 1000.0
    said: list[tuple[int, str]] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ("a", "b", "c")

    @property
    def second(self) -> int:
        return int(self.now - 1000)

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.second < 10_000, "it waits for ever"

    def answer(self, command: str, *words: str) -> str | None:
        """The answer of the last second that has one."""
        assert command == "squeue" and "--jobs=7" in words
        return self.answers[max(second for second in self.answers if second <= self.second)]

    def left(self) -> list[str]:
        return [n for n in self.names if n not in self.lost and self.ends.get(n, 10**9) > self.second]

    def lose(self, names: Sequence[str], reason: str) -> None:
        for name in names:
            if name in self.left():
                self.said.append((self.second, f"{name}: {reason}"))
                self.lost[name] = reason

    def wait(self, patience_minutes: float = 15, waits: bool = True) -> None:
        submission = Submission(self.folder / "q.json", self.folder, "7", tuple((name,) for name in self.names))
        slurm.send_to_slurm(
            LaunchRequest(
                (),
                {},
                (),
                ONLY_MAMS,
                self.folder,
                self.left,
                self.lose,
                patience_minutes,
                lambda text: self.said.append((self.second, text)),
                submission,
                waits,
            )
        )


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Slurm]:
    def make(answers: dict[int, str | None], **ends: int) -> Slurm:
        made = Slurm(tmp_path, answers, ends)
        monkeypatch.setattr(slurm, "time", made)
        monkeypatch.setattr(watch, "time", made)
        monkeypatch.setattr(slurm, "_ask", made.answer)
        return made

    return make


RUN = "7_0|RUNNING|None\n7_1|RUNNING|None\n7_2|RUNNING|None\n"


def test_jobs_that_leave_notes(cluster):
    made = cluster({0: RUN}, a=3, b=5, c=4)
    made.wait()
    assert made.second == 5 and made.lost == {} and [text for _, text in made.said[1:]] == []


def test_held_jobs_are_said_once_at_the_next_look_and_again_if_they_are_held_again(cluster):
    held = f"7_0|PENDING|{HELD}\n7_1|RUNNING|None\n7_2|RUNNING|None\n"
    free = held.replace(HELD, "BeginTime")
    made = cluster({0: RUN, 5: held, 50: free, 60: held, 70: RUN}, a=80, b=80, c=80)
    made.wait()
    assert [(second, text.partition(". To cancel: `scancel")[0]) for second, text in made.said[1:]] == [
        (5, RELEASE),
        (60, RELEASE),
    ]


def test_missing_nodes_are_said_once_though_the_reason_comes_and_goes(cluster):
    nodes = "7_0|PENDING|ReqNodeNotAvail, UnavailableNodes:{}\n7_1|RUNNING|None\n"
    waits = "7_0|PENDING|Resources\n7_1|RUNNING|None\n"
    made = cluster({0: nodes.format("n1"), 5: waits, 9: nodes.format("n[1-2]"), 12: waits}, a=80, b=80, c=80)
    made.wait()
    assert [second for second, text in made.said[1:] if "UnavailableNodes" in text] == [0]


def test_many_held_jobs_are_one_line(cluster):
    made = cluster({0: "".join(f"7_{n}|PENDING|JobHeldUser\n" for n in range(3)), 4: RUN}, a=8, b=8, c=8)
    made.wait()
    assert [text for _, text in made.said[1:]] == [
        "Blocked in Slurm, cannot start by itself: 3 jobs, PENDING (JobHeldUser). Release: `scontrol release"
        " '7_[0-2]'`. To cancel: `scancel '7_[0-2]'`"
    ]


def test_ordinary_reasons_are_said_after_a_while_and_then_only_if_they_change(cluster):
    waits = "7_0|RUNNING|None\n7_1|PENDING|{0}\n7_2|PENDING|{0}\n"
    answers = {0: waits.format("Priority"), 1000: waits.format("Resources"), 2000: RUN}
    made = cluster(answers, a=2100, b=2100, c=2100)
    made.wait()
    assert made.said[1:] == [
        (301, "in Slurm as 7: 1 RUNNING, 2 PENDING (Priority)"),
        (1000, "in Slurm as 7: 1 RUNNING, 2 PENDING (Resources)"),
    ]


def test_a_wait_for_what_is_held_ends_with_state_reason_and_remedy(cluster):
    made = cluster({0: RUN, 30: f"7_2|RUNNING|None\n7_0|PENDING|{HELD}\n", 2000: f"7_0|PENDING|{HELD}\n"}, b=20, c=2000)
    with pytest.raises(NotEndedError) as ended:
        made.wait(patience_minutes=2)
    assert made.second == 2000 + 121, "while another runs that is a sign of life"
    assert str(ended.value) == (
        f"For 2 minutes, no job of 7 has been running or able to start. {RELEASE}. To cancel: `scancel 7_0`. The jobs"
        " stay in Slurm."
        " Run the same command again to collect results; to wait longer, raise launch.patience_minutes."
    )
    assert ended.value.each == f"not finished: in Slurm as 7_0, 1 PENDING ({HELD})" and made.lost == {}


@pytest.mark.parametrize("reason", ["Priority", "Licenses", "a reason of tomorrow"])
def test_what_can_start_is_waited_for(cluster, reason):
    made = cluster({0: f"7_0|PENDING|{reason}\n"}, a=5000, b=1, c=1)
    made.wait(patience_minutes=1)
    assert made.second == 5000


def test_no_answer_and_held_jobs_in_turn_do_not_add_up_to_life(cluster):
    answers: dict[int, str | None] = {}
    for second in range(0, 400, 2):
        answers |= {second: f"7_0|PENDING|{HELD}\n", second + 1: None}
    made = cluster(answers, b=0, c=0)
    with pytest.raises(NotEndedError, match="no job of 7 has been running or able to start"):
        made.wait(patience_minutes=2)
    assert made.second == 122


def test_no_answer(cluster):
    made = cluster({0: RUN, 10: None}, a=5)
    with pytest.raises(NotEndedError, match="not answered for 2 minutes, .*Jobs of 7 may still be running") as ended:
        made.wait(patience_minutes=2)
    assert made.second == 9 + 121 and ended.value.each == "state unknown: Slurm does not answer about 7"


def test_garbage_is_said_once_and_is_no_answer(cluster):
    made = cluster({0: RUN, 10: "Segmentation fault\n", 11: "7_0|PENDING\n"})
    with pytest.raises(NotEndedError, match="Slurm has not answered"):
        made.wait(patience_minutes=1)
    assert made.said[1:] == [
        (10, "squeue -j 7: the answer has 'Segmentation fault', which mam cannot read; it will ask again")
    ]


def test_an_unknown_state_is_waited_for_and_said(cluster):
    made = cluster({0: "7_0|TELEPORTING|None\n"}, a=400, b=1, c=1)
    made.wait(patience_minutes=1)
    assert (302, "in Slurm as 7: 1 TELEPORTING") in made.said


def test_an_empty_queue_ends_the_wait_after_a_grace(cluster):
    made = cluster({0: RUN, 5: ""}, a=2)
    made.wait()
    assert made.second == 15 and made.lost == {}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("CANCELLED", "cancelled in Slurm"),
        ("TIMEOUT", "out of time in Slurm (TIMEOUT): raise hydra.launcher.timeout_min"),
        ("OUT_OF_MEMORY", "out of memory in Slurm (OUT_OF_MEMORY): raise hydra.launcher.mem_gb"),
        ("NODE_FAIL", "node failure in Slurm (NODE_FAIL)"),
        ("FAILED", "ended without a message in Slurm (FAILED): killed or out of memory"),
    ],
)
def test_how_slurm_ended_a_job_is_said_at_the_second_look(cluster, state, reason):
    ended = RUN.replace("7_1|RUNNING", f"7_1|{state}")
    made = cluster({0: RUN, 5: ended}, a=30, c=40)
    made.wait()
    assert made.lost == {"b": reason} and made.said[1:] == [(6, f"b: {reason}")] and made.second == 40


def test_a_job_cancelled_while_it_waits_leaves_no_trace_in_slurm(cluster):
    waits = "7_0|RUNNING|None\n7_1|PENDING|Priority\n7_2|PENDING|Priority\n"
    made = cluster({0: waits, 5: waits.replace("7_2|PENDING|Priority\n", "")}, a=30, b=40)
    made.wait()
    assert made.lost == {"c": "cancelled in Slurm"} and made.said[1:] == [(6, "c: cancelled in Slurm")]


def test_a_job_that_slurm_forgets_after_the_first_look_keeps_its_reason(cluster):
    gone = "7_0|RUNNING|None\n7_2|RUNNING|None\n"
    made = cluster({0: RUN, 5: RUN.replace("7_1|RUNNING", "7_1|TIMEOUT"), 6: gone}, a=30, c=40)
    made.wait()
    assert made.lost == {"b": "out of time in Slurm (TIMEOUT): raise hydra.launcher.timeout_min"}


def test_a_requeued_job_is_not_lost(cluster):
    """For a moment Slurm shows how its last start ended."""
    failed = RUN.replace("7_1|RUNNING", "7_1|NODE_FAIL")
    made = cluster({0: RUN, 5: failed, 6: RUN.replace("7_1|RUNNING|None", "7_1|PENDING|BeginTime")}, a=9, b=20, c=9)
    made.wait()
    assert made.lost == {} and made.second == 20


def test_a_job_forgotten_while_slurm_did_not_answer_is_not_called_cancelled(cluster):
    waits = "7_0|RUNNING|None\n7_1|PENDING|Priority\n"
    made = cluster({0: waits, 5: None, 100: "7_0|RUNNING|None\n", 200: "7_0|COMPLETED|None\n"}, a=200, c=1)
    made.wait()
    assert made.lost == {} and made.second > 200


def test_a_completed_job_has_its_time_to_leave_a_note(cluster):
    made = cluster({0: RUN, 5: RUN.replace("RUNNING", "COMPLETED")}, a=9, b=9, c=14)
    made.wait()
    assert made.lost == {} and made.second == 14


def test_without_waiting_held_jobs_are_said(cluster):
    made = cluster({0: f"7_0|PENDING|{HELD}\n7_1|RUNNING|None\n7_2|PENDING|Priority\n"})
    with pytest.raises(StillQueuedError) as left:
        made.wait(waits=False)
    assert str(left.value) == (
        f"3 jobs not finished: 1 RUNNING, 1 PENDING ({HELD}), 1 PENDING (Priority) (squeue -j 7). {RELEASE}. To"
        " cancel: `scancel 7_0`. Run the same command again later to collect results. To cancel: `scancel 7`."
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [(None, "Slurm does not answer"), ("what?", r"Slurm's answer has 'what\?', which mam cannot read")],
)
def test_without_waiting_or_an_answer(cluster, answer, says):
    with pytest.raises(StillQueuedError, match=rf"3 jobs not finished: {says} \(squeue -j 7\)\. Run the same command"):
        cluster({0: answer}).wait(waits=False)


def test_without_waiting_what_was_cancelled_is_called_so(cluster):
    made = cluster({0: RUN.replace("RUNNING", "CANCELLED")})
    made.wait(waits=False)
    assert made.lost == dict.fromkeys("abc", "cancelled in Slurm") and made.second <= 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("echo '7_0|RUNNING|None'", "7_0|RUNNING|None\n"),
        ("printf '7_0|PENDING|\\377\\n'", "7_0|PENDING|\ufffd\n"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", ""),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", None),
        ("exec sleep 60", None),
        ("kill -9 $$", None),
    ],
)
def test_a_squeue_of_every_kind(body, expected, tmp_path, monkeypatch):
    script = tmp_path / "squeue"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "ANSWER", 2.0)
    assert slurm._ask("squeue") == expected


def test_no_squeue_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm._ask("squeue") is None
    (tmp_path / "squeue").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "squeue").chmod(0o755)
    assert slurm._ask("squeue") is None
