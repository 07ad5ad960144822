import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradscope.render.strip import ASCII_BLOCKS, ASCII_SIGNS, BLOCKS, SIGNS, strip
from gradscope.signals.states import State, states


def of(values, width=80, **options):
    values = np.asarray(values, float)
    return strip(values, states(values, np.ones(len(values), bool)), width, **options)


def test_heights_rise_with_the_logarithm():
    assert of(10.0 ** np.arange(-8, 0)).text == BLOCKS
    assert of(10.0 ** np.arange(-8, 0)[::-1]).text == BLOCKS[::-1]


def test_level_gradients_are_level():
    assert len(set(of([1.0, 1.1, 0.9, 1.0]).text)) <= 2


def test_what_has_no_height_has_a_sign():
    values = np.array([0.0, 1.0, np.inf, np.nan, 1.0])
    found = states(values, np.array([True, True, True, True, False]))
    line = strip(values, found, 80)
    assert (line.text[0], line.text[2], line.text[3], line.text[4]) == ("0", "∞", "×", " ")
    assert line.legend() == [("×", State.NAN), ("∞", State.INF), ("0", State.ZERO)]
    assert (line.low, line.high) == (1.0, 1.0)


def test_nothing_finite_has_no_ends():
    line = of([np.nan, 0.0])
    assert (line.text, line.low, line.high) == ("×0", None, None)
    assert of([]).text == " "


def test_a_thousand_layers_keep_the_one_that_must_not_be_missed():
    values = np.ones(1000)
    values[777] = np.nan
    assert of(values, 50).text.count("×") == 1
    values[777] = 0.0
    assert of(values, 50).text.count("0") == 1


def test_of_layers_that_share_a_character_the_smallest_is_shown():
    assert of([1e-8, 1.0, 1.0, 1.0], 2).text == BLOCKS[0] + BLOCKS[-1]


@given(
    arrays(float, st.integers(1, 200), elements=st.one_of(st.floats(0.0, 1e30), st.just(np.nan), st.just(np.inf))),
    st.integers(1, 100),
    st.booleans(),
)
def test_every_profile_fits_its_width_in_known_signs(values, width, ascii_only):
    line = of(values, width, ascii_only=ascii_only)
    blocks, signs = (ASCII_BLOCKS, ASCII_SIGNS) if ascii_only else (BLOCKS, SIGNS)
    assert 1 <= len(line.text) <= width
    assert set(line.text) <= set(blocks) | set(signs.values())
    assert line.text.isascii() or not ascii_only
    assert (State.NAN in line.states) == bool(np.isnan(values).any())


@pytest.mark.parametrize("value", [5e-324, 1e-45, 1e308])
def test_the_ends_of_the_floats_are_drawn(value):
    assert len(of([value, 1.0]).text) == 2
