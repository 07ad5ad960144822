"""The time that a sweep still takes, against sweeps that are played with a made-up clock."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import pytest

from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.remaining import Remaining

START, COST, POINTS = 20.0, 3.0, 24


def played(jobs: int, costs: Sequence[float] = (COST,) * POINTS) -> list[tuple[float, Outcome]]:
    """When each point ends, and its outcome; a process takes its time to start for its first one."""
    free, ends = [0.0] * jobs, list[tuple[float, Outcome]]()
    for i, cost in enumerate(costs):
        start = START if i < jobs else 0.0
        end = heapq.heappop(free) + start + cost
        heapq.heappush(free, end)
        ends.append((end, Outcome(End.FINISHED, seconds=start + cost, start_seconds=start)))
    return sorted(ends, key=lambda ended: ended[0])


@pytest.mark.parametrize("jobs", [1, 2, 4, 7])
def test_it_is_right_once_each_process_has_done_a_point_whatever_it_takes_to_start(jobs: int) -> None:
    ends, remaining = played(jobs), Remaining(jobs, 0.0)
    last = ends[-1][0]
    for done, (now, outcome) in enumerate(ends[:-1], start=1):
        remaining.note(outcome, now, POINTS - done)
        told = remaining.seconds(POINTS - done, now)
        if done < jobs:
            assert told is None  # who knows how long the others take
            continue
        assert told == pytest.approx(last - now, abs=COST)  # where they do not share out evenly, the last round is not full
        if POINTS % jobs == 0 and done % jobs == 0:  # all processes begin a point now
            assert told == pytest.approx(last - now)


@pytest.mark.parametrize("jobs", [2, 4, 8])
def test_what_is_told_first_is_not_what_the_quick_points_alone_would_make_of_it(jobs: int) -> None:
    """Half of the points cost ten times the others, and of several at a time the quick ones are done first."""
    first, naive, points = [], [], 64
    for seed in range(40):
        costs = np.random.default_rng(seed).permutation([1.0, 10.0] * (points // 2))
        ends, remaining = played(jobs, costs), Remaining(jobs, 0.0)
        last = ends[-1][0]
        naive.append(min(costs[:jobs]) * points / jobs / (last - ends[0][0]))
        for done, (now, outcome) in enumerate(ends[:-1], start=1):
            remaining.note(outcome, now, points - done)
            if (told := remaining.seconds(points - done, now)) is not None:
                first.append(told / (last - now))
                break
    assert 0.7 < np.median(first) < 1.3
    assert np.median(naive) < 0.3


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
