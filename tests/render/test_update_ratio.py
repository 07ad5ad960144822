import numpy as np

from gradscope.record.finding import Finding, Report, Severity
from gradscope.render import plot
from gradscope.signals.ratios import update_ratio
from gradscope.signals.states import State
from tests.render.cases import case


def test_the_ratio_stands_by_layer_over_the_same_over_the_steps():
    run, report = case("vanishing")
    above, below = plot(run, "update-ratio", reports=[report]).axes
    last = next(line for line in above.get_lines() if line.get_label() == "step 199")
    assert np.array_equal(last.get_ydata(), update_ratio(run).values[-1])
    assert above.get_xlabel() == "layer, from input to output"
    assert below.get_xlabel() == "training step"
    assert above.get_yscale() == below.get_yscale() == "log"
    median = next(line for line in below.get_lines() if line.get_label() == "median")
    assert median.get_ydata()[0] == np.sort(update_ratio(run).values[0])[9]


def test_the_usual_ratio_is_drawn_in_both_panels():
    for axes in plot(case("shallow")[0], "update-ratio").axes:
        assert any(set(np.atleast_1d(line.get_ydata())) == {1e-3} for line in axes.get_lines())
        assert any("usual where a net learns well" in t.get_text() for t in axes.texts)


def test_layers_that_do_not_move_at_all_stand_on_the_shelf_of_zero():
    run, _ = case("dead")
    above, below = plot(run, "update-ratio").axes
    assert (update_ratio(run).states[-1, :6] == State.ZERO).all()
    for axes in (above, below):
        assert "0" in [t.get_text() for t in axes.get_yticklabels()]
        assert any(line.get_label() == "_exactly 0" for line in axes.get_lines())


def test_the_threshold_of_a_finding_about_updates_is_drawn():
    run, _ = case("vanishing")
    layers = ("layers.0",)
    finding = Finding(
        "GS106", "stalled-layers", Severity.WARNING, "m", "update_ratio", 1e-14, 1e-8, layers=layers, steps=(0, 199)
    )
    above = plot(run, "update-ratio", reports=[Report(run.name, 200, (finding,))]).axes[0]
    line = next(line for line in above.get_lines() if line.get_gid() == "threshold-GS106")
    assert line.get_ydata()[0] == 1e-8
