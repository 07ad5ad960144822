import numpy as np

from gradscope.signals.states import SMALLEST_NORMAL, State, states


def test_every_kind_of_value_has_its_own_state():
    values = np.array([1.0, 0.0, -0.0, 1e-40, np.inf, -np.inf, np.nan, np.nan])
    present = np.array([True] * 7 + [False])
    expected = [State.FINITE, State.ZERO, State.ZERO, State.UNDERFLOW, State.INF, State.INF, State.NAN, State.ABSENT]
    assert states(values, present).tolist() == expected


def test_underflow_begins_below_float32s_smallest_normal_number():
    values = np.array([SMALLEST_NORMAL, np.nextafter(SMALLEST_NORMAL, 0.0)])
    assert float(np.finfo(np.float32).tiny) == SMALLEST_NORMAL
    assert states(values, np.ones(2, bool)).tolist() == [State.FINITE, State.UNDERFLOW]


def test_every_state_can_be_said_in_words():
    assert len({state.words for state in State}) == len(State)
