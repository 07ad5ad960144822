from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from gradscope.record.finding import Report
from gradscope.render import plot, theme
from gradscope.signals.profiles import depth_profile
from gradscope.signals.states import State
from tests.render.cases import case
from tests.signals.makers import chain


def figure(*names: str):
    runs, reports = zip(*(case(n) for n in names), strict=True)
    return plot(runs, "heatmap", reports=reports)


def test_the_map_is_the_profile_as_powers_of_ten_in_cividis():
    run, _ = case("vanishing")
    axes, bar = figure("vanishing").axes
    image = axes.images[0]
    assert image.get_cmap().name == "cividis"
    assert np.allclose(image.get_array().filled(np.nan), np.log10(depth_profile(run).values.T))
    assert tuple(image.get_extent()) == (-0.5, 199.5, 0.5, 20.5)
    assert image.origin == "lower"
    assert axes.get_xlabel() == "training step"
    assert bar.get_ylabel() == "gradient norm"


def test_the_colours_span_everything_that_is_finite():
    run, _ = case("vanishing")
    image = figure("vanishing").axes[0].images[0]
    logs = np.log10(depth_profile(run).values)
    assert (image.norm.vmin, image.norm.vmax) == pytest.approx((logs.min(), logs.max()))


def test_level_gradients_have_level_colours():
    image = figure("shallow").axes[0].images[0]
    assert image.norm.vmax - image.norm.vmin >= 2.0


def test_zero_underflow_and_what_was_not_recorded_have_colours_of_their_own_and_a_legend():
    page = figure("dead")
    special = page.axes[0].images[1]
    codes = special.get_array()
    assert set(np.unique(codes.compressed())) == {State.ABSENT, State.UNDERFLOW, State.ZERO}
    assert (codes[:6, 100:] == State.ZERO).all()
    assert (codes[:6, 80:100] == State.UNDERFLOW).all()
    assert (codes[10:12] == State.ABSENT).all()
    colours = {
        tuple(special.cmap(special.norm(int(s)))) for s in (State.ABSENT, State.UNDERFLOW, State.ZERO, State.INF, State.NAN)
    }
    assert len(colours) == 5
    legend = [t.get_text() for t in page.legends[0].get_texts()]
    assert legend == ["exactly 0 (from step 100)", "underflow below 1.2e-38 (from step 80)", "not recorded"]


def test_nan_and_infinity_are_told_with_their_first_step_and_hatched():
    page = figure("exploding")
    assert [t.get_text() for t in page.legends[0].get_texts()] == ["NaN (from step 121)", "infinite (from step 120)"]
    hatches = {h for collection in page.axes[0].collections for h in collection.hatches}
    assert hatches == {theme.STATES[State.NAN].hatch, theme.STATES[State.INF].hatch}


def test_a_finding_is_a_frame_around_its_layers_and_steps():
    axes = figure("exploding").axes[0]
    frames = {p.get_gid(): p.get_bbox().extents.tolist() for p in axes.patches}
    assert frames["finding-GS102"] == [-0.5, 0.5, 119.5, 10.5]
    assert frames["finding-GS103"] == [119.5, 0.5, 199.5, 10.5]
    assert [t.get_text() for t in axes.texts] == ["GS102", "GS103"]


def test_compared_runs_share_one_scale_and_one_bar():
    *maps, bar = figure("vanishing", "shallow", "exploding").axes
    norms = {(m.images[0].norm.vmin, m.images[0].norm.vmax) for m in maps}
    assert len(maps) == 3
    assert len(norms) == 1
    assert bar.get_label() == "colours"
    assert {m.get_xlim() for m in maps} == {(-0.5, 199.5)}
    assert [m.get_title("left") or m.get_title(loc="left") for m in maps] == ["plain-sigmoid-20", "relu-he-5", "exploding-20"]


def test_a_thousand_layers_fit_and_it_is_said_how_many_share_a_cell():
    axes = figure("thousand").axes[0]
    rows = axes.images[0].get_array().shape[0]
    assert rows <= axes.bbox.height
    assert "each cell: the most unusual of" in axes.get_xlabel()


def test_a_run_that_was_sampled_seldom_fills_the_whole_axis():
    image = figure("seldom").axes[0].images[0]
    assert tuple(image.get_extent()[:2]) == (-0.5, 899.5)
    assert not image.get_array().mask.any()


def test_a_run_that_broke_at_once_is_drawn_up_to_there_and_the_rest_is_said():
    nan = float("nan")
    run = chain({"backward_norm": [[1.0, 2.0, 3.0]] + [[nan] * 3] * 99}, steps={"loss": [1.0] + [nan] * 99})
    _, report = case("exploding")
    axes = plot(run, "heatmap", reports=[report]).axes[0]
    assert axes.get_xlim() == (-0.5, 4.5)
    assert "not drawn: 5-99" in axes.get_xlabel()
    assert axes.images[0].get_array().mask.tolist() == [[False] + [True] * 4] * 3
    assert len(axes.texts) == 0


def test_a_single_layer_at_a_single_step_is_a_map_too():
    run = chain({"backward_norm": [[0.0]]}, steps={"loss": [1.0]}, names=("only",))
    page = plot(run, "heatmap")
    page.canvas.draw()
    assert page.axes[0].images[1].get_array().tolist() == [[State.ZERO]]


def test_hatches_follow_the_edges_of_few_cells():
    norms = np.ones((4, 3))
    norms[3, 0] = np.nan
    page = plot(chain({"backward_norm": norms.tolist()}, steps={"loss": [1.0] * 4}), "heatmap")
    (hatched,) = page.axes[0].collections
    (outline,) = hatched.get_paths()
    (left, low), (right, high) = outline.get_extents().get_points()
    assert (left, right, low, high) == pytest.approx((2.5, 3.5, 0.5, 1.5), abs=1e-4)


def test_codes_of_findings_in_one_corner_stand_under_each_other():
    run, report = case("vanishing")
    same = Report(run.name, 200, tuple(replace(report.findings[0], code=code) for code in ("GS101", "GS106", "GS201")))
    page = plot(run, "heatmap", reports=[same])
    page.canvas.draw()
    boxes = [text.get_window_extent() for text in page.axes[0].texts if text.get_text().startswith("GS")]
    assert len(boxes) == 3
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b)
