import numpy as np
import pytest
from matplotlib.text import Text

from gradscope.render import plot
from gradscope.signals.events import series
from tests import synthetic
from tests.render.cases import case
from tests.signals.makers import chain

NAN = float("nan")


def figure(*names: str):
    runs, reports = zip(*(case(n) for n in names), strict=True)
    return plot(runs, "loss", reports=reports)


def lines(axes) -> dict[str, list]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_training_and_validation_are_drawn_as_recorded():
    run, _ = case("vanishing")
    drawn = lines(figure("vanishing").axes[0])
    assert np.array_equal(drawn["training"].get_ydata(), series(run, "loss").values)
    assert np.array_equal(drawn["validation"].get_xdata(), series(run, "validation_loss").measured.steps)


def test_a_loss_over_decades_is_logarithmic_and_one_that_stands_still_is_not():
    assert figure("shallow").axes[0].get_yscale() == "log"
    axes = figure("vanishing").axes[0]
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    assert high - low > 0.2 * high


def test_a_loss_below_zero_is_drawn_on_a_linear_axis():
    axes = plot(chain(steps={"loss": [100.0, 1.0, -50.0]}), "loss").axes[0]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < -50.0


def test_a_loss_of_exactly_zero_stands_on_the_linear_axis_at_zero():
    axes = plot(chain(steps={"loss": [1.0, 0.0]}), "loss").axes[0]
    assert axes.get_yscale() == "linear"
    assert lines(axes)["training"].get_ydata().tolist() == [1.0, 0.0]


def test_a_loss_that_became_nan_stands_on_a_shelf_and_in_its_lane():
    panel, lane = figure("exploding").axes
    marks = [line for line in panel.get_lines() if line.get_label() == "_NaN"]
    ticks = dict(zip((t.get_text() for t in panel.get_yticklabels()), panel.get_yticks(), strict=True))
    assert set(marks[0].get_ydata()) == {ticks["NaN"]}
    assert marks[0].get_xdata()[0] == 120
    assert [t.get_text() for t in lane.texts] == ["not finite", "spike"]
    (broken,) = [c for c in lane.collections if c.get_gid() == "event-nonfinite"]
    assert broken.get_paths()[0].get_extents().intervalx.tolist() == [119.5, 199.5]


@pytest.mark.parametrize("name", ["loss", "overview"])
def test_the_names_of_the_lanes_stay_on_the_page_however_wide_it_is(name: str):
    runs = [chain(steps={"loss": [1.0, 0.9, 0.8], "skipped": [0.0, 1.0, 0.0]})] * 2
    page = plot(runs, name)
    page.canvas.draw()
    said = [text for text in page.findobj(Text) if text.get_text() == "skipped step"]
    assert len(said) == 2
    for text in said:
        mark = min(line.get_window_extent().x0 for line in text.axes.get_lines())
        assert 0.0 <= text.get_window_extent().x0 < text.get_window_extent().x1 < mark


def test_clipped_and_skipped_steps_have_lanes_and_are_counted():
    steps = {
        "loss": [1.0] * 6,
        "total_norm": [2.0] * 6,
        "clip_coefficient": [None, 0.5, 0.5, None, None, 0.9],
        "skipped": [0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    }
    page = plot(chain(steps=steps), "loss")
    lane = page.axes[1]
    assert [t.get_text() for t in lane.texts] == ["skipped step", "clipped"]
    (clipped,) = [c for c in lane.collections if c.get_gid() == "event-clipped"]
    assert [p.get_extents().intervalx.tolist() for p in clipped.get_paths()] == [[0.5, 2.5], [4.5, 5.5]]
    words = " ".join(t.get_text() for t in page.texts)
    assert "1 step not taken; the gradient was clipped in 3 of 6 steps" in words


def test_clipped_steps_are_counted_among_those_that_read_the_gradient():
    steps = {
        "loss": [1.0] * 6,
        "total_norm": [2.0, 2.0, None, 2.0, None, None],
        "clip_coefficient": [0.5, 0.5, None, None, None, None],
    }
    page = plot(chain(steps=steps), "loss")
    assert "the gradient was clipped in 2 of the 3 steps that read it" in " ".join(t.get_text() for t in page.texts)


def test_the_beginning_of_each_spike_is_marked_on_the_curve():
    loss = np.ones(100)
    loss[[60, 80]] = 50.0
    axes = plot(chain(steps={"loss": loss.tolist()}), "loss").axes[0]
    assert lines(axes)["spikes"].get_xdata().tolist() == [60, 80]


def test_a_long_run_is_reduced_but_its_spike_stands():
    loss = np.full(50_000, 1.0)
    loss[31_415] = 90.0
    drawn = lines(plot(chain(steps={"loss": loss.tolist()}), "loss").axes[0])["training"]
    assert len(drawn.get_xdata()) < 5_000
    assert drawn.get_ydata().max() == 90.0


def broken(steps: int, at: int):
    return chain(steps={"loss": [2.0] * at + [NAN] * (steps - at), "validation_loss": [2.0] + [None] * (steps - 2) + [NAN]})


def test_of_a_run_that_broke_at_once_what_led_to_it_is_drawn_large_and_the_rest_is_said():
    page = plot(broken(200, 1), "loss")
    for axes in page.axes:
        assert axes.get_xlim() == (-0.5, 4.5)
    assert page.axes[-1].get_xlabel() == "training step (not drawn: 5-199, where the loss is never finite again)"
    first = lines(page.axes[0])["training"]
    assert (first.get_ydata()[0], first.get_marker()) == (2.0, "o")
    assert all(
        np.max(line.get_xdata()) <= 4.5 for line in page.axes[0].get_lines() if line.get_transform() == page.axes[0].transData
    )
    assert "2 at step 0; not finite from step 1." in " ".join(t.get_text() for t in page.texts).lower()


def test_a_run_that_broke_late_or_beside_a_long_one_is_drawn_whole():
    for runs in ([broken(200, 60)], [broken(200, 1), chain(steps={"loss": [1.0] * 200})]):
        axes = plot(runs, "loss").axes[-1]
        assert axes.get_xlim() == (-0.5, 199.5)
        assert axes.get_xlabel() == "training step"


def test_findings_are_shaded_over_their_steps():
    panel = figure("exploding").axes[0]
    spans = sorted(
        (p.get_x(), p.get_x() + p.get_width())
        for p in panel.patches
        if (p.get_gid() or "").startswith("finding") and p.get_height() > 0.5
    )
    assert spans == [(-0.5, 119.5), (119.5, 199.5)]


def test_compared_runs_carry_their_mark_in_the_lanes_of_events():
    clipped = synthetic.plain_sigmoid(5, 50, clip=0.01)
    page = plot([case("shallow")[0], clipped], "loss")
    lane = page.axes[1]
    marks = [line for line in lane.get_lines() if line.get_label() == "_run"]
    legend = page.legends[0].legend_handles
    assert [m.get_color() for m in marks] == [legend[1].get_color()]
    assert [h.get_label() for h in legend] == ["relu-he-5", "plain-sigmoid-5", "validation"]
