import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from gradscope.render import FIGURES, plot, theme
from gradscope.signals.through_time import time_ratio
from tests.render.cases import case


def test_the_curves_are_the_ratios_by_time_step_early_to_late():
    run, _ = case("forgetful")
    axes = plot(run, "through-time").axes[0]
    (ratio,) = time_ratio(run)
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines() if line.get_label().startswith("step")}
    assert len(drawn) == 5
    for label, values in drawn.items():
        assert np.array_equal(values, ratio.values[int(label.removeprefix("step "))])
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "time step, first to last"
    ticks = [t.get_text() for t in axes.get_xticklabels()]
    assert (ticks[0], ticks[-1]) == ("0", "39")


def test_the_finding_is_a_band_over_its_time_steps_and_its_threshold_a_line():
    run, report = case("forgetful")
    axes = plot(run, "through-time", reports=[report]).axes[0]
    spans = [p for p in axes.patches if p.get_gid() == "finding-GS101" and p.get_height() > 0.5]
    assert [(s.get_x(), s.get_x() + s.get_width()) for s in spans] == [(0.5, 27.5)]
    line = next(line for line in axes.get_lines() if line.get_gid() == "threshold-GS101")
    assert line.get_ydata()[0] == 1e-2


def test_the_map_is_centred_at_one_in_a_diverging_map():
    run, _ = case("forgetful")
    image = plot(run, "through-time").axes[1].images[0]
    assert image.norm.vmin == -image.norm.vmax
    assert image.norm.vmax >= -np.log10(time_ratio(run)[0].values.min())
    assert image.get_cmap() is theme.RATIO
    assert np.allclose(image.get_array(), np.log10(time_ratio(run)[0].values.T))


def test_the_diverging_map_is_grey_at_one_and_ordered_without_colour():
    red, green, blue, _ = theme.RATIO(0.5)
    assert abs(red - green) < 0.02
    assert abs(green - blue) < 0.02
    lightness = [np.dot(to_rgba(theme.RATIO(x))[:3], (0.299, 0.587, 0.114)) for x in np.linspace(0.0, 1.0, 65)]
    assert lightness == sorted(lightness)


def test_the_sentence_says_how_far_back_the_gradient_reaches():
    run, _ = case("forgetful")
    under = np.flatnonzero(time_ratio(run)[0].values[-1, ::-1] < 0.01)[0]
    assert f"a hundredth of it is left {under} time steps before the last" in " ".join(
        t.get_text() for t in plot(run, "through-time").findobj(Text)
    )


def test_compared_runs_share_the_axis_and_no_map_is_drawn():
    cases = [case("forgetful"), case("recurrent")]
    page = plot([run for run, _ in cases], "through-time", reports=[report for _, report in cases])
    assert len(page.axes) == 1
    assert len({h.get_color() for h in page.legends[0].legend_handles}) == 2


def test_a_run_without_recurrent_layers_says_so():
    assert any("no layer is recurrent" in t.get_text() for t in plot(case("shallow")[0], "through-time").findobj(Text))


def test_the_data_have_the_time_step():
    run, _ = case("recurrent")
    rows = list(FIGURES["through-time"].data([run]))
    assert len(rows) == 100 * 40
    row = next(r for r in rows if r.step == 7 and r.timestep == 12)
    assert (row.layer, row.signal) == ("rnn", "time_ratio")
    assert row.value == pytest.approx(time_ratio(run)[0].values[7, 12])
