import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import across_layers, condense, extremes, joined, stretches
from gradscope.signals.states import State

NAN, INF = float("nan"), float("inf")
numbers = st.one_of(st.floats(width=32), st.just(NAN), st.just(INF))


def profile(values, steps=None, present=None) -> Profile:
    values = np.asarray(values, float)
    layers = tuple(f"l{i}" for i in range(values.shape[1]))
    at = np.arange(len(values)) if steps is None else np.asarray(steps)
    return Profile("backward_norm", at, layers, values, np.ones(values.shape, bool) if present is None else present)


@given(arrays(float, st.integers(1, 400), elements=numbers), st.integers(1, 40))
def test_a_reduced_series_keeps_its_ends_its_extremes_and_its_first_broken_value(values, buckets):
    at = extremes(values, buckets)
    assert (np.diff(at) > 0).all()
    assert at[0] == 0
    assert at[-1] == len(values) - 1
    assert len(at) <= max(3 * buckets + 2, 2 * buckets)
    finite = np.isfinite(values)
    if finite.any():
        kept = values[at][np.isfinite(values[at])]
        assert kept.min() == values[finite].min()
        assert kept.max() == values[finite].max()
    if not finite.all():
        assert np.flatnonzero(~finite)[0] in at


def test_a_short_series_is_kept_whole():
    assert extremes(np.zeros(20), 10).tolist() == list(range(20))


def test_a_single_spike_survives_a_thousandfold_reduction():
    values = np.zeros(100_000)
    values[31_415] = 1.0
    assert 31_415 in extremes(values, 50)


def test_stretches_give_the_geometric_mean_between_the_smallest_and_the_largest():
    x, low, middle, high = stretches(np.array([1.0, 4.0, 16.0, 2.0, NAN, 8.0, NAN, 0.0, NAN]), 3)
    assert x.tolist() == [1.0, 4.0, 7.0]
    assert (low[:2].tolist(), high[:2].tolist()) == ([1.0, 2.0], [16.0, 8.0])
    assert middle[:2] == pytest.approx([4.0, 4.0])
    assert np.isnan([low[2], middle[2], high[2]]).all()


def test_across_layers_keeps_zero_infinity_and_nan():
    low, middle, high = across_layers(profile([[0.0, 3.0, INF], [1.0, NAN, 2.0], [5.0, 4.0, 3.0]]))
    assert low.states.tolist() == [State.ZERO, State.NAN, State.FINITE]
    assert high.states.tolist() == [State.INF, State.NAN, State.FINITE]
    assert (middle.values[0], middle.values[2]) == (3.0, 4.0)


def test_across_layers_leaves_out_what_was_not_recorded():
    present = np.array([[True, False, True], [False, False, False]])
    low, middle, high = across_layers(profile([[2.0, 99.0, 1.0], [0.0, 0.0, 0.0]], present=present))
    assert [s.values.tolist() for s in (low, middle, high)] == [[1.0], [1.0], [2.0]]


def test_a_small_profile_is_not_condensed():
    values = np.arange(1.0, 13.0).reshape(4, 3)
    small = condense(profile(values), 10, 10)
    assert small.values.tolist() == values.T.tolist()
    assert (small.layers_per_row, small.steps_per_column) == (1, 1)


@given(arrays(float, (30, 12), elements=numbers), st.integers(1, 12), st.integers(1, 30))
def test_a_condensed_profile_shows_every_kind_of_value_that_is_not_finite(values, rows, columns):
    whole = profile(values)
    small = condense(whole, rows, columns)
    assert small.values.shape[0] <= rows
    assert small.values.shape[1] <= columns
    worst = whole.states.max()
    assert small.states.max() == worst
    for row, (start, stop) in enumerate(zip(small.row_edges[:-1], small.row_edges[1:], strict=True)):
        if (whole.states[:, start:stop] == State.NAN).any():
            assert (small.states[row] == State.NAN).any()


def test_one_spike_among_a_hundred_thousand_values_is_on_the_map():
    values = np.ones((1000, 100))
    values[777, 33] = 1e6
    small = condense(profile(values), 10, 20)
    assert (small.values == 1e6).sum() == 1
    assert small.values[33 // 10, 777 // 50] == 1e6


def test_one_exact_zero_among_a_hundred_thousand_values_is_on_the_map():
    values = np.ones((1000, 100))
    values[5, 99] = 0.0
    assert (condense(profile(values), 10, 20).states == State.ZERO).sum() == 1


def test_steps_that_were_not_sampled_repeat_the_one_before():
    small = condense(profile([[1.0], [2.0], [3.0]], steps=[0, 4, 8]), 5, 100)
    assert small.values[0].tolist() == [1.0] * 4 + [2.0] * 4 + [3.0]


def test_nothing_is_shown_before_the_first_sampled_step_nor_cut_after_the_last():
    small = condense(profile([[1.0], [2.0]], steps=[3, 5]), 5, 100, end=7)
    assert small.states[0].tolist() == [State.ABSENT] * 3 + [State.FINITE] * 5
    assert small.step_edges[-1] == 8.0


def test_profiles_joined_are_the_one_that_they_were_parts_of():
    whole = profile(np.arange(1.0, 41.0).reshape(20, 2))
    together = None
    for start in range(0, 20, 5):
        together = joined(together, profile(whole.values[start : start + 5], np.arange(start, start + 5)), 100)
    assert together.steps.tolist() == whole.steps.tolist()
    assert (together.values == whole.values).all()


def test_a_spike_survives_however_often_profiles_are_joined():
    together = None
    for start in range(0, 5_000, 10):
        values = np.ones((10, 3))
        if start == 1_230:
            values[4, 1] = 1e6
        together = joined(together, profile(values, np.arange(start, start + 10)), 64)
        assert len(together.steps) <= 64
    assert together.values.max() == 1e6
    assert together.steps[-1] == 4_999


def test_a_profile_of_other_layers_begins_anew():
    later = profile(np.ones((4, 3)))
    assert joined(profile(np.ones((4, 2))), later, 100) is later
