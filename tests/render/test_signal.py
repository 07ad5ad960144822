import numpy as np
import pytest
from matplotlib.text import Text

from gradscope.render import FIGURES, plot
from gradscope.signals.profiles import depth_profile
from gradscope.signals.ratios import backward_ratio, forward_reach
from tests import synthetic
from tests.render.cases import case


@pytest.fixture(scope="module")
def coupled():
    """Signal and gradient both fall by 0.35 a layer, from either end, as in ``configs/small-init.yaml``."""
    return synthetic.network("coupled", 20, 40, gain=0.35, forward_gain=0.35)


def lines(axes, step: str):
    return {line.get_label().partition(",")[0]: line for line in axes.get_lines() if line.get_label().endswith(step)}


def words(page) -> str:
    return " ".join(t.get_text() for t in page.findobj(Text))


def test_both_ways_and_the_weights_gradients_stand_in_one_panel_on_one_logarithmic_scale(coupled):
    (axes,) = plot(coupled, "signal").axes
    drawn = lines(axes, "step 39")
    assert list(drawn) == ["forward_reach", "backward_ratio", "weight_gradient_ratio"]
    ahead, back = depth_profile(coupled, "forward_norm").values[-1], depth_profile(coupled).values[-1]
    assert drawn["forward_reach"].get_ydata() == pytest.approx(ahead / ahead[0])
    assert drawn["backward_ratio"].get_ydata() == pytest.approx(back / back[-1])
    assert axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer, from input to output", "against where it begins")


def test_where_both_die_the_weight_gradients_are_level_and_the_sentence_says_that_they_deceive(coupled):
    drawn = lines(plot(coupled, "signal").axes[0], "step 39")
    weights = np.asarray(drawn["weight_gradient_ratio"].get_ydata())
    assert weights.max() / weights.min() < 2.0
    assert drawn["forward_reach"].get_ydata()[-1] < 1e-7
    assert drawn["backward_ratio"].get_ydata()[0] < 1e-7
    assert "alone they look level, although both ways are dead" in words(plot(coupled, "signal"))
    assert "look level" not in words(plot(case("vanishing")[0], "signal"))
    assert "look level" not in words(plot(case("shallow")[0], "signal"))


def test_the_three_differ_in_colour_line_and_marker_and_are_named(coupled):
    handles = plot(coupled, "signal").legends[0].legend_handles
    assert [h.get_label().partition(",")[0] for h in handles] == ["signal", "gradient", "weight gradient"]
    assert len({(h.get_color(), h.get_marker(), str(h._unscaled_dash_pattern)) for h in handles}) == 3


def test_the_threshold_of_a_finding_lies_where_the_ratio_has_it():
    run, report = case("vanishing")
    axes = plot(run, "signal", reports=[report]).axes[0]
    line = next(line for line in axes.get_lines() if line.get_gid() == "threshold-GS101")
    assert line.get_ydata()[0] == report.findings[0].threshold


def test_compared_runs_have_a_panel_each_on_one_scale(coupled):
    run, report = case("shallow")
    above, below = plot([coupled, run], "signal", reports=[synthetic.healthy_report(coupled), report]).axes
    assert above.get_ylim() == below.get_ylim()
    assert [a.get_title(loc="left") for a in (above, below)] == ["coupled", "relu-he-5"]


def test_what_is_zero_or_not_finite_stands_on_a_shelf():
    labels = [t.get_text() for t in plot(case("dead")[0], "signal").axes[0].get_yticklabels()]
    assert "0" in labels
    run, _ = case("exploding")
    assert (np.isfinite(backward_ratio(run).values[119])).all()
    assert "step 119" in words(plot(run, "signal")) or lines(plot(run, "signal").axes[0], "step 119")


def test_the_data_are_the_three_ratios(coupled):
    rows = list(FIGURES["signal"].data([coupled]))
    assert {row.signal for row in rows} == {"forward_reach", "backward_ratio", "weight_gradient_ratio"}
    first = next(row for row in rows if row.signal == "forward_reach" and row.step == 3 and row.layer == "layers.4")
    assert first.value == forward_reach(coupled).values[3, 2]
