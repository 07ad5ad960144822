from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from gradscope.numbers import number
from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import FIGURES, curves, plot
from gradscope.signals.profiles import depth_profile
from gradscope.signals.ratios import backward_gain, backward_ratio, noise_floor
from tests.render.cases import case
from tests.signals.makers import chain


def figure(*names: str):
    runs, reports = zip(*(case(n) for n in names), strict=True)
    return plot(runs, "profile", reports=reports)


def words(page) -> str:
    return " ".join(t.get_text() for t in page.texts)


def test_the_norms_by_layer_stand_over_the_gain_of_each_layer():
    above, below = figure("vanishing").axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("gradient norm", "gain per layer")
    assert below.get_xlabel() == "layer, from input to output"
    assert above.get_yscale() == below.get_yscale() == "log"
    assert above.get_xlim() == below.get_xlim() == (0.5, 20.5)
    labels = [t.get_text() for t in below.get_xticklabels()]
    assert (labels[0], labels[-1]) == ("layers.0", "layers.38")


def test_the_curves_are_the_recorded_steps_early_to_late():
    run, _ = case("vanishing")
    above = figure("vanishing").axes[0]
    profile = depth_profile(run)
    drawn = {line.get_label(): line.get_ydata() for line in above.get_lines() if line.get_label().startswith("step")}
    assert list(drawn) == ["step 0", "step 3", "step 13", "step 52", "step 199"]
    for label, values in drawn.items():
        assert np.array_equal(values, profile.values[int(label.removeprefix("step "))])


def test_the_gains_are_those_of_the_signal():
    run, _ = case("vanishing")
    line = next(line for line in figure("vanishing").axes[1].get_lines() if line.get_label() == "step 199")
    assert np.array_equal(line.get_ydata()[1:], backward_gain(run).values[199, 1:])


def test_steps_differ_in_colour_line_and_marker():
    handles = figure("vanishing").legends[0].legend_handles[:5]
    assert len({h.get_color() for h in handles}) == 5
    assert len({h.get_marker() for h in handles}) == 5
    assert len({str(h._unscaled_dash_pattern) for h in handles}) == 5
    lightness = [np.dot(to_rgba(h.get_color())[:3], (0.299, 0.587, 0.114)) for h in handles]
    assert lightness == sorted(lightness, reverse=True)


def test_the_sentence_says_what_the_curves_show():
    run, _ = case("vanishing")
    ratio = float(backward_ratio(run).values[-1, 0])
    assert f"the first layer receives {number(ratio)} of the gradient" in words(figure("vanishing"))


def test_the_finding_is_a_band_over_its_layers_in_both_panels_and_a_bar_above():
    page = figure("vanishing")
    for axes in page.axes:
        spans = [p for p in axes.patches if p.get_gid() == "finding-GS101" and p.get_height() > 0.5]
        assert [(s.get_x(), s.get_x() + s.get_width()) for s in spans] == [(0.5, 12.5)]
    assert "GS101 vanishing-gradients" in [t.get_text() for t in page.axes[0].texts]


def test_the_threshold_lies_at_its_share_of_the_last_layers_gradient():
    run, report = case("vanishing")
    line = next(line for line in figure("vanishing").axes[0].get_lines() if line.get_gid() == "threshold-GS101")
    expected = report.findings[0].threshold * depth_profile(run).values[-1, -1]
    assert line.get_ydata()[0] == pytest.approx(expected)
    assert any("0.001 of the gradient at layers.38" in t.get_text() for t in figure("vanishing").axes[0].texts)


def test_what_chance_alone_gives_is_a_funnel_around_the_last_hidden_layer():
    run, _ = case("shallow")
    page = figure("shallow")
    (funnel,) = page.axes[0].collections
    heights = funnel.get_paths()[0].vertices[:, 1]
    middle, floor = depth_profile(run).values[-1, -2], noise_floor(run).values[0]
    assert heights.max() == pytest.approx(middle * floor.max())
    assert heights.min() == pytest.approx(middle / floor.max())
    assert "what chance alone gives" in [t.get_text() for t in page.legends[0].get_texts()]


def test_zero_infinity_and_nan_have_shelves_of_their_own():
    above = figure("dead").axes[0]
    ticks = dict(zip((t.get_text() for t in above.get_yticklabels()), above.get_yticks(), strict=True))
    zeros = next(line for line in above.get_lines() if line.get_label() == "_exactly 0")
    assert list(zeros.get_xdata()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert set(zeros.get_ydata()) == {ticks["0"]}
    assert ticks["0"] < min(v for k, v in ticks.items() if k != "0")

    above = figure("exploding").axes[0]
    ticks = dict(zip((t.get_text() for t in above.get_yticklabels()), above.get_yticks(), strict=True))
    marks = {line.get_label(): line for line in above.get_lines() if line.get_label() in ("_NaN", "_infinite")}
    assert list(marks["_infinite"].get_xdata()) == [float(i) for i in range(1, 11)]
    assert list(marks["_NaN"].get_xdata()) == [float(i) for i in range(1, 21)]
    assert set(marks["_NaN"].get_ydata()) == {ticks["NaN"]}
    finite = [v for k, v in ticks.items() if k not in ("NaN", "inf")]
    assert max(finite) < ticks["inf"] < ticks["NaN"]


def test_a_layer_that_was_not_recorded_is_a_gap_and_is_said():
    page = figure("dead")
    line = next(line for line in page.axes[0].get_lines() if line.get_label() == "step 199")
    assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [0, 1, 2, 3, 4, 5, 10, 11]
    assert "2 layers were not recorded" in words(page)
    assert "exactly nothing reaches 6 of 20 layers" in words(page)


def test_the_steps_around_the_first_broken_one_are_always_shown():
    run, _ = case("exploding")
    steps = curves.early_to_late(depth_profile(run))
    assert {119, 120, 199} <= set(steps)
    assert "from step 120 it is no longer finite" in words(figure("exploding"))


def test_nothing_that_is_finite_lies_outside_the_axes():
    for name in ("vanishing", "deep", "thousand", "exploding", "dead", "shallow"):
        for axes in figure(name).axes:
            low, high = axes.get_ylim()
            for line in axes.get_lines():
                values = np.asarray(line.get_ydata(), float)
                if line.get_gid() is None and values.size > 2:
                    kept = values[np.isfinite(values)]
                    assert ((kept >= low) & (kept <= high)).all()


def test_level_gradients_look_level():
    low, high = figure("shallow").axes[0].get_ylim()
    assert high / low >= 100.0


def test_several_runs_share_one_axis_with_a_look_of_their_own_each():
    page = figure("vanishing", "shallow")
    handles = page.legends[0].legend_handles
    assert [h.get_label() for h in handles] == ["plain-sigmoid-20", "relu-he-5"]
    assert len({(h.get_color(), h.get_marker()) for h in handles}) == 2
    assert page.axes[0].get_xlim() == (0.5, 20.5)
    assert page.axes[-1].get_xticklabels()[0].get_text() == "1"


def test_of_a_thousand_layers_the_gain_is_the_mean_over_neighbours_in_a_band():
    below = figure("thousand").axes[1]
    assert max(len(line.get_xdata()) for line in below.get_lines()) <= 1000
    line = next(line for line in below.get_lines() if line.get_label() == "step 59")
    assert len(line.get_xdata()) == curves.STRETCHES
    assert any(collection.get_paths() for collection in below.collections)


def test_without_gradients_at_the_outputs_the_weights_gradients_are_drawn_and_named_so():
    run = chain(parameters={"grad_norm": [[1.0, 2.0, 4.0]]}, steps={"loss": [1.0]})
    axes = plot(run, "profile").axes
    assert [a.get_ylabel() for a in axes] == ["weight gradient's norm"]
    assert axes[0].get_lines()[0].get_ydata().tolist() == [1.0, 2.0, 4.0]


def test_the_data_holds_norm_ratio_and_gain():
    run, _ = case("vanishing")
    rows = list(FIGURES["profile"].data([run]))
    assert {row.signal for row in rows} == {"backward_norm", "backward_ratio", "backward_gain"}
    norms = [row for row in rows if row.signal == "backward_norm"]
    assert len(norms) == 200 * 20
    assert norms[25].value == depth_profile(run).values[1, 5]
    assert (norms[25].step, norms[25].layer, norms[25].run) == (1, "layers.10", "plain-sigmoid-20")


def test_an_empty_report_changes_nothing():
    run, _ = case("shallow")
    assert len(plot(run, "profile", reports=[Report(run.name, 40)]).axes[0].texts) == 0


def test_theorys_line_stands_in_the_scale_of_the_first_steps_last_gradient():
    run, report = case("vanishing")
    layers = depth_profile(run).layers
    known = Run(replace(run.manifest, theory={name: 0.5**i for i, name in enumerate(reversed(layers))}), run._tables)
    page = plot(known, "profile", reports=[report])
    line = next(line for line in page.axes[0].get_lines() if line.get_gid() == "theory")
    assert line.get_ydata() == pytest.approx(depth_profile(run).values[0, -1] * 0.5 ** np.arange(20)[::-1])
    assert "theory, before training" in [t.get_text() for t in page.legends[0].get_texts()]
    assert [r.value for r in FIGURES["profile"].data([known]) if r.signal == "predicted_backward_ratio"][-1] == 1.0


def test_where_theory_has_no_word_there_is_no_line():
    page = figure("vanishing")
    assert not any(line.get_gid() == "theory" for line in page.axes[0].get_lines())
    assert "theory, before training" not in [t.get_text() for t in page.legends[0].get_texts()]
