import numpy as np
import pytest

from gradscope.signals.frames import frame_rows, frames
from gradscope.signals.states import State


def framed(values, most, present=None):
    values = np.asarray(values, float)
    there = np.ones(values.shape, bool) if present is None else present
    return frames(np.arange(len(values)) * 3, values, there, most)


@pytest.mark.parametrize("count", [1, 2, 23, 24, 25, 1_000, 100_000])
@pytest.mark.parametrize("most", [2, 24, 500])
def test_frames_begin_at_the_first_row_ascend_and_are_no_more_than_asked_for(count, most):
    rows = frame_rows(count, most)
    assert rows[0] == 0
    assert rows[-1] == count - 1
    assert (np.diff(rows) > 0).all()
    assert len(rows) <= most
    assert count > most or len(rows) == count


def test_a_short_profile_is_not_reduced():
    values = np.random.default_rng(0).random((20, 3))
    found = framed(values, 20)
    assert not found.reduced
    assert (found.values == values).all()
    assert (found.low == values).all()
    assert (found.until == found.steps).all()


def test_each_frame_has_the_smallest_and_largest_value_of_the_rows_it_stands_for():
    values = np.random.default_rng(1).lognormal(0.0, 2.0, (997, 4))
    found = framed(values, 30)
    assert found.reduced
    ends = [*found.rows[1:], 997]
    for f, (start, stop) in enumerate(zip(found.rows, ends, strict=True)):
        assert (found.low[f] == values[start:stop].min(axis=0)).all()
        assert (found.high[f] == values[start:stop].max(axis=0)).all()
        assert found.until[f] == (stop - 1) * 3
        assert (found.values[f] == values[start]).all()


@pytest.mark.parametrize(("spike", "falls"), [(1e3, False), (1e-3, True)])
def test_a_single_spike_in_ten_thousand_steps_survives_and_says_which_way_it_goes(spike, falls):
    values = np.ones((10_000, 3))
    values[7_321, 1] = spike
    found = framed(values, 40)
    frame = int(np.searchsorted(found.rows, 7_321, side="right")) - 1
    assert spike in (found.low[frame, 1], found.high[frame, 1])
    assert found.falls[frame, 1] == falls
    others = np.delete(found.high, frame, axis=0)
    assert (others == 1.0).all()


@pytest.mark.parametrize(
    ("value", "state"), [(np.nan, State.NAN), (np.inf, State.INF), (0.0, State.ZERO), (1e-41, State.UNDERFLOW)]
)
def test_a_single_value_that_is_no_size_marks_its_frame_and_leaves_its_range(value, state):
    values = np.full((5_000, 2), 0.5)
    values[1_234, 0] = value
    found = framed(values, 24)
    frame = int(np.searchsorted(found.rows, 1_234, side="right")) - 1
    assert found.marks[frame, 0] == state
    assert (np.delete(found.marks[:, 0], frame) == State.FINITE).all()
    assert found.high[frame, 0] == 0.5


def test_where_nothing_was_recorded_a_frame_has_no_range():
    present = np.ones((600, 2), bool)
    present[:, 1] = False
    found = framed(np.where(present, 1.0, np.nan), 24, present)
    assert np.isnan(found.low[:, 1]).all()
    assert (found.marks[:, 1] == State.ABSENT).all()


def test_rows_that_are_looked_at_in_parts_give_what_all_together_give(monkeypatch):
    values = np.random.default_rng(2).lognormal(0.0, 3.0, (1_000, 5))
    values[333, 2], values[700:720, 1], values[5, 0] = np.nan, 0.0, np.inf
    present = np.random.default_rng(3).random(values.shape) > 0.1
    whole = framed(values, 40, present)
    monkeypatch.setattr("gradscope.signals.frames.AT_ONCE", 7)
    parts = framed(values, 40, present)
    for name in ("rows", "until", "values", "states", "low", "high", "marks", "falls"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name), equal_nan=name in ("values", "low", "high"))
