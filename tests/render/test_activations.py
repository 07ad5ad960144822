import numpy as np
from matplotlib.text import Text

from gradscope.record.finding import Finding, Report, Severity
from gradscope.render import curves, plot
from gradscope.signals.activations import dead_share, saturated_share
from tests.render.cases import case


def words(page) -> str:
    return " ".join(t.get_text() for t in page.findobj(Text))


def test_the_share_stands_by_layer_over_the_same_over_the_steps_from_nothing_to_all():
    run, _ = case("vanishing")
    by_layer, by_step = plot(run, "activations").axes
    last = next(line for line in by_layer.get_lines() if line.get_label() == "step 199")
    assert np.array_equal(last.get_ydata(), saturated_share(run).values[-1])
    for axes in (by_layer, by_step):
        assert axes.get_ylim()[0] < 0.0 < 1.0 < axes.get_ylim()[1]
        assert axes.get_ylabel() == "saturated entries"
        assert {"0%", "100%"} <= {t.get_text() for t in axes.get_yticklabels()}
    median = next(line for line in by_step.get_lines() if line.get_label() == "median")
    assert median.get_ydata()[0] == np.sort(saturated_share(run).values[0])[9]


def test_the_sentence_names_the_worst_layer():
    run, _ = case("shallow")
    share = dead_share(run)
    worst = share.layers[int(share.values[-1].argmax())]
    assert f"of the units are dead at {worst}, the worst layer" in words(plot(run, "activations"))


def test_a_finding_about_shares_has_its_band_and_its_threshold_and_stands_alone():
    run, _report = case("shallow")
    dead = Finding("GS201", "dead-units", Severity.WARNING, "m", "dead_share", 0.95, 0.9, layers=("layers.3",), steps=(0, 39))
    other = Finding("GS101", "vanishing-gradients", Severity.ERROR, "m", "backward_ratio", 0.1, 0.2, layers=("layers.0",))
    axes = plot(run, "activations", reports=[Report(run.name, 40, (other, dead))]).axes[0]
    line = next(line for line in axes.get_lines() if line.get_gid() == "threshold-GS201")
    assert line.get_ydata()[0] == 0.9
    spans = [p for p in axes.patches if (p.get_gid() or "").startswith("finding") and p.get_height() > 0.5]
    assert [(s.get_gid(), s.get_x(), s.get_x() + s.get_width()) for s in spans] == [("finding-GS201", 1.5, 2.5)]


def test_runs_of_different_activations_have_a_part_for_each_measure():
    (sick, a), (cured, b) = case("vanishing"), case("shallow")
    page = plot([sick, cured], "activations", reports=[a, b])
    titles = [t.get_text() for part in page.subfigs for t in part.texts]
    assert "Dead units by layer" in titles
    assert "Saturated entries by layer" in titles


def test_of_a_thousand_layers_the_mean_over_neighbours_is_drawn_in_a_band():
    run, _ = case("thousand")
    axes = plot(run, "activations").axes[0]
    line = next(line for line in axes.get_lines() if line.get_label() == "step 59")
    assert len(line.get_xdata()) == curves.STRETCHES
    assert np.isclose(np.mean(line.get_ydata()), saturated_share(run).values[-1].mean(), rtol=0.02)
    assert any(collection.get_paths() for collection in axes.collections)


def test_of_a_run_that_broke_nothing_is_drawn_from_there_on():
    run, _ = case("exploding")
    page = plot(run, "activations")
    steps = [line.get_xdata() for line in page.axes[1].get_lines() if line.get_label() == "median"]
    assert steps[0].max() == 119
    assert "At step 119, " in words(page)


def test_without_an_activation_it_says_why_there_is_no_share():
    said = words(plot(case("recurrent")[0], "activations"))
    assert "no activation that can die or saturate is a module of its own" in said
