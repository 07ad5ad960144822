"""The time that a sweep still takes, against sweeps that are played with a made-up clock."""

from __future__ import annotations

import heapq

import pytest

from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.remaining import Remaining

START, COST, POINTS = 20.0, 3.0, 24


def played(jobs: int) -> list[tuple[float, Outcome]]:
    """When each point ends, and its outcome: all cost the same, and a process takes its time to start for its first one."""
    free, ends = [0.0] * jobs, list[tuple[float, Outcome]]()
    for i in range(POINTS):
        start = START if i < jobs else 0.0
        end = heapq.heappop(free) + start + COST
        heapq.heappush(free, end)
        ends.append((end, Outcome(End.FINISHED, seconds=start + COST, start_seconds=start)))
    return ends


@pytest.mark.parametrize("jobs", [1, 2, 4, 7])
def test_it_is_right_from_the_first_point_on_whatever_a_process_takes_to_start(jobs: int) -> None:
    ends, remaining = played(jobs), Remaining(jobs, 0.0)
    last = ends[-1][0]
    for done, (now, outcome) in enumerate(ends[:-1], start=1):
        remaining.note(outcome, now, POINTS - done)
        told = remaining.seconds(POINTS - done, now)
        assert told == pytest.approx(last - now, abs=COST)  # where they do not share out evenly, the last round is not full
        if POINTS % jobs == 0 and done % jobs == 0:  # all processes begin a point now
            assert told == pytest.approx(last - now)


def test_it_runs_down_while_nothing_ends_and_never_below_nothing() -> None:
    remaining = Remaining(2, 0.0)
    remaining.note(Outcome(End.FINISHED, seconds=10.0), 10.0, 3)
    remaining.note(Outcome(End.FINISHED, seconds=10.0), 10.0, 2)
    assert [remaining.seconds(2, now) for now in (10.0, 14.0, 20.0, 90.0)] == [10.0, 6.0, 0.0, 0.0]


def test_a_process_without_a_further_point_is_idle() -> None:
    remaining = Remaining(2, 0.0)
    remaining.note(Outcome(End.FINISHED, seconds=10.0), 10.0, 3)
    remaining.note(Outcome(End.FINISHED, seconds=16.0), 16.0, 2)
    remaining.note(Outcome(End.FINISHED, seconds=10.0), 20.0, 1)  # its process is idle from now on
    assert remaining.seconds(1, 20.0) == 12.0 - 4.0


def test_a_search_that_asks_for_one_point_after_another_keeps_one_process_busy_whatever_there_are() -> None:
    remaining = Remaining(4, 0.0)
    remaining.note(Outcome(End.FINISHED, seconds=10.0), 10.0, 1)  # one end; the other is under way
    remaining.note(Outcome(End.FINISHED, seconds=10.0), 10.0, 1)  # the middle is asked for
    assert remaining.seconds(1, 10.0) == 10.0
    remaining.note(Outcome(End.FINISHED, seconds=10.0), 20.0, 1)
    assert remaining.seconds(1, 24.0) == 6.0


def test_there_is_none_before_the_first_point_nor_after_the_last_nor_of_a_point_whose_time_nobody_knows() -> None:
    remaining = Remaining(1, 0.0)
    assert remaining.seconds(5, 3.0) is None
    remaining.note(Outcome(End.FAILED, "its process was killed"), 3.0, 4)
    assert remaining.seconds(4, 3.0) is None
    remaining.note(Outcome(End.FINISHED, seconds=2.0), 5.0, 3)
    assert remaining.seconds(3, 5.0) == 6.0
    assert remaining.seconds(0, 5.0) is None
