import re

import numpy as np
import pytest
from matplotlib import colormaps

from gradscope.render.mosaic import CIVIDIS, SHADES, mosaic
from gradscope.render.terminal import Terminal
from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import condense

COLOUR = Terminal(colour=True)


def profile(values) -> Profile:
    values = np.asarray(values, float)
    names = tuple(f"l{i}" for i in range(values.shape[1]))
    return Profile("backward_norm", np.arange(len(values)), names, values, np.ones(values.shape, bool))


def drawn(values, lines: int, columns: int, terminal: Terminal) -> list[str]:
    raster = condense(profile(values), 2 * lines, columns)
    return [line.plain for line in mosaic(raster, lines, terminal)]


def test_the_colours_are_those_of_matplotlibs_cividis():
    known = [colormaps["cividis"](i / (len(CIVIDIS) - 1))[:3] for i in range(len(CIVIDIS))]
    assert [tuple(round(255 * c) for c in colour) for colour in known] == list(CIVIDIS)


def test_without_colour_the_shade_grows_with_the_size_and_the_output_is_on_top():
    rows = np.tile(10.0 ** np.arange(4), (6, 1))  # the layer nearest to the output has the largest gradient
    assert drawn(rows, 4, 6, Terminal()) == [sign * 6 for sign in reversed(SHADES)]


def test_without_colour_what_has_no_size_is_a_sign():
    rows = np.array([[1.0, 1.0], [0.0, np.nan], [np.inf, 1.0]])
    top, bottom = drawn(rows, 2, 3, Terminal())
    assert (top[1], bottom[1], bottom[2]) == ("×", "0", "∞")
    assert not set("".join(drawn(rows, 2, 3, Terminal(unicode=False)))) - set(".:+#0NI ")


def test_in_colour_a_line_holds_two_rows():
    raster = condense(profile(10.0 ** np.arange(8)[None] * np.ones((3, 1))), 8, 3)
    lines = mosaic(raster, 4, COLOUR)
    assert [line.plain for line in lines] == ["▀▀▀"] * 4
    brightness = [sum(part.style.color.triplet) for line in lines for part in line.spans]
    assert brightness == sorted(brightness, reverse=True)


def test_zero_and_nan_have_colours_that_no_size_has():
    lines = mosaic(condense(profile([[0.0, 1.0], [np.nan, 1.0]]), 2, 2), 1, COLOUR)
    lower = [span.style.bgcolor.triplet for line in lines for span in line.spans]
    assert lower == [(0, 0, 0), (197, 27, 27)]
    shades = {colormaps["cividis"](i / 255)[:3] for i in range(256)}
    assert not {tuple(c / 255 for c in triplet) for triplet in lower} & shades


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 8, 1000])
def test_any_number_of_layers_fits_its_lines(layers):
    values = np.exp(np.random.default_rng(0).standard_normal((50, layers)))
    for terminal in (Terminal(), COLOUR):
        lines = mosaic(condense(profile(values), 8 if terminal.colour else 4, 30), 4, terminal)
        assert 1 <= len(lines) <= 4
        assert {len(re.sub(r"\x1b.*?m", "", line.plain)) for line in lines} == {30}
