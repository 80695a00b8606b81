"""What squeue answers: read line by line, classified by reason, with what helps; anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mam.launch.queue import ENDED, QueuedTask, ids_of, obstacles_of, read_queue, summary

NODES = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions"


@pytest.mark.parametrize(
    ("answer", "count", "expected"),
    [
        ("", 3, []),
        ("\n \n", 3, []),
        ("7_0|RUNNING|None\n7_2|PENDING|Priority\n", 3, [(0, "RUNNING", ""), (2, "PENDING", "Priority")]),
        ("7|PENDING|(null)\n", 1, [(0, "PENDING", "")]),
        ("7|CANCELLED|JobHeldUser\n", 3, []),  # what remains of an array from which all were taken
        ("7_[0-1,4%2]|PENDING|Resources", 5, [(n, "PENDING", "Resources") for n in (0, 1, 4)]),
        ("7_1|PENDING|ReqNodeNotAvail, UnavailableNodes:n[1-3]|x \r\n", 2, None),
        ("7_1|PENDING|a | b|c", 2, [(1, "PENDING", "a | b|c")]),
        ("7_1|SOMETHING_NEW|", 2, [(1, "SOMETHING_NEW", "")]),
    ],
)
def test_answers(answer, count, expected):
    if expected is None:
        expected = [(1, "PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-3]|x")]
    assert read_queue(answer, "7", count) == [QueuedTask(*each) for each in expected]


@pytest.mark.parametrize(
    "line",
    [
        "slurm_load_jobs error: Zero Bytes were transmitted",
        "8_0|RUNNING|None",  # another job
        "77_0|RUNNING|None",
        "7_3|RUNNING|None",  # there are three tasks
        "7_[0-3]|PENDING|None",
        "7_[2-1]|PENDING|None",
        "7_[0-]|PENDING|None",
        "7_[0-99999999999999999999]|PENDING|None",
        "7_٣|RUNNING|None",
        "7_0|running|None",
        "7_0|RUNNING",
        "7_0",
        "|||",
    ],
)
def test_what_is_no_answer_is_quoted(line):
    with pytest.raises(ValueError, match=r"^'") as refused:
        read_queue(f"7_0|RUNNING|None\n{line}\n", "7", 3)
    assert str(refused.value) == repr(line)


REASONS = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=60).map(str.strip)
STATES = st.sampled_from(["PENDING", "RUNNING", "COMPLETING", "CANCELLED", "TIMEOUT", "NEW_STATE"])


@given(st.lists(st.tuples(st.integers(0, 49), STATES, REASONS.filter(lambda text: text not in ("None", "(null)")))))
def test_what_is_written_is_read(tasks):
    answer = "".join(f"7_{number}|{state}|{reason}\n" for number, state, reason in tasks)
    assert read_queue(answer, "7", 50) == [QueuedTask(*task) for task in tasks]


@given(st.text(max_size=80) | st.text(alphabet="7_[]0123,-%|PENDIG \n", max_size=40), st.integers(1, 4))
def test_any_text_is_read_or_refused(text, count):
    try:
        tasks = read_queue(text, "7", count)
    except ValueError:
        return
    assert all(0 <= task.number < count for task in tasks)


@given(st.sets(st.integers(0, 40), min_size=1))
def test_ids_are_read_by_slurm_as_the_same_tasks(numbers):
    text = ids_of("7", numbers, 41).strip("'")
    assert {task.number for task in read_queue(f"{text}|PENDING|", "7", 41)} == numbers


@pytest.mark.parametrize(
    ("numbers", "count", "text"),
    [
        ([0], 1, "7"),
        ([3], 4, "7_3"),
        ([0, 1, 2, 5], 9, "'7_[0-2,5]'"),
        ([0, 1], 2, "'7_[0-1]'"),
        ([2, 0], 4, "'7_[0,2]'"),
    ],
)
def test_ids(numbers, count, text):
    assert ids_of("7", numbers, count) == text


HOLD, NODE, LIMIT = "scontrol release 7_0", "`sinfo -R`", "request less with hydra.launcher.*"


@pytest.mark.parametrize(
    ("reason", "helps"),
    [
        ("launch failed requeued held", HOLD),
        ("job requeued in held state", HOLD),
        ("JobHeldUser", HOLD),
        ("JobHeldAdmin", "which may need an administrator"),
        ("JobHoldMaxRequeue", HOLD),
        ("DependencyNeverSatisfied", "`: a job that this one depends on has failed"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", NODE),
        ("ReqNodeNotAvail, Reserved for maintenance", NODE),
        ("ReqNodeNotAvail", NODE),
        (NODES, NODE),
        ("PartitionDown", NODE),
        ("PartitionInactive", NODE),
        ("NodeDown", NODE),
        ("BadConstraints", LIMIT),
        ("PartitionNodeLimit", LIMIT),
        ("PartitionTimeLimit", LIMIT),
        ("InvalidQOS", LIMIT),
        ("InvalidAccount", LIMIT),
        ("QOSNotAllowed", LIMIT),
        ("AssocGrpCPUMinutesLimit", LIMIT),
        ("AssocMaxCpuPerJobLimit", LIMIT),
        ("AssocMaxMemPerNode", LIMIT),
        ("QOSMaxWallDurationPerJobLimit", LIMIT),
        ("QOSMinGRES", LIMIT),
        ("MaxMemPerLimit", LIMIT),
    ],
)
def test_what_does_not_start_by_itself(reason, helps):
    task = QueuedTask(0, "PENDING", reason)
    assert task.is_stuck
    (sentence,) = obstacles_of([task], "7", 2)
    assert sentence.startswith(f"Blocked in Slurm, cannot start by itself: 1 job, PENDING ({reason}). ")
    assert helps in sentence and sentence.endswith("To cancel: `scancel 7_0`")


@pytest.mark.parametrize(
    "reason",
    [
        "Priority",
        "Resources",
        "BeginTime",
        "Dependency",
        "JobArrayTaskLimit",
        "Reservation",
        "QOSMaxJobsPerUserLimit",
        "QOSMaxCpuPerUserLimit",
        "AssocGrpCpuLimit",  # until others of the group end
        "AssocMaxJobsLimit",
        "ReqNodeNotAvail, May be reserved for other job",
        "something that Slurm says in a later version",
        "",
    ],
)
def test_what_waits_for_its_turn(reason):
    task = QueuedTask(0, "PENDING", reason)
    assert not task.is_stuck and obstacles_of([task], "7", 2) == []


def test_a_licence_may_come_back():
    task = QueuedTask(1, "PENDING", "Licenses")
    assert not task.is_stuck and obstacles_of([task], "7", 2) == [
        "Waiting in Slurm: 1 job, PENDING (Licenses). See `scontrol show licenses` for licences in use. To cancel:"
        " `scancel 7_1`"
    ]


@pytest.mark.parametrize("state", ["REQUEUE_HOLD", "SPECIAL_EXIT"])
def test_states_that_are_holds(state):
    assert (
        QueuedTask(0, state, "").is_stuck
        and "`scontrol release 7`" in obstacles_of([QueuedTask(0, state, "")], "7", 1)[0]
    )


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", *sorted(ENDED)])
def test_only_what_waits_is_held(state):
    """Slurm keeps the reason of a job that was held while it ran, and that of one cancelled while it was held."""
    assert not QueuedTask(0, state, "JobHeldUser").is_stuck


def test_many_tasks_of_one_reason_are_one_line():
    tasks = [
        *(QueuedTask(number, "PENDING", "launch failed requeued held") for number in (0, 1, 2, 7)),
        QueuedTask(3, "RUNNING", ""),
        QueuedTask(4, "PENDING", NODES),
        QueuedTask(5, "PENDING", NODES),
        QueuedTask(6, "PENDING", "Priority"),
    ]
    assert obstacles_of(tasks, "7", 8) == [
        "Blocked in Slurm, cannot start by itself: 4 jobs, PENDING (launch failed requeued held). Release: `scontrol"
        " release '7_[0-2,7]'`. To cancel: `scancel '7_[0-2,7]'`",
        f"Blocked in Slurm, cannot start by itself: 2 jobs, PENDING ({NODES}). See `sinfo -R` for unavailable"
        " nodes and `sinfo` for closed partitions. To cancel: `scancel '7_[4-5]'`",
    ]
    assert (
        summary(tasks)
        == f"1 RUNNING, 4 PENDING (launch failed requeued held), 1 PENDING (Priority), 2 PENDING ({NODES})"
    )
