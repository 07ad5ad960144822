import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from gradscope.record.finding import Report
from gradscope.record.grid import Block
from gradscope.record.manifest import Manifest, Status
from gradscope.record.sink import MemorySink
from gradscope.render import FIGURES, bars, plot, theme
from tests import synthetic
from tests.render.cases import case

WEIGHT, SLOPE = 3.0, 0.2


def told(name: str = "told", depth: int = 6, steps: int = 8, weight: float = WEIGHT, slope: float = SLOPE):
    """A plain net of which every operation's own gain was recorded: each matrix ``weight``, each activation ``slope``."""
    catalogue = synthetic.stations(depth)
    sink = MemorySink(Manifest(name, status=Status.FINISHED, catalogue=catalogue))
    back, before, at = [], [], 0.1
    for layer in reversed(catalogue.layers):
        back.append(at)
        at *= weight if layer.trunk else slope
        before.append(at)
    entities = tuple((layer.name, 0) for layer in catalogue.layers)
    columns = {
        "backward_norm": np.tile(back[::-1], (steps, 1)),
        "input_backward_norm": np.tile(before[::-1], (steps, 1)),
        "forward_norm": np.ones((steps, len(entities))),
    }
    sink.append(Block("layers", np.arange(steps, dtype=np.int64), entities, columns))
    sink.append(Block("steps", np.arange(steps, dtype=np.int64), (("", 0),), {"loss": np.ones((steps, 1))}))
    return sink.run()


def heights(axes, kind: str) -> list[float]:
    (found,) = [c for c in axes.containers if c.get_label() == kind]
    return [bar.get_height() for bar in found]


def whole(page):
    return [axes for axes in page.axes if axes.get_label() == "whole"]


def test_gains_stand_above_zero_and_losses_below_each_with_its_decades():
    axes = plot(told(), "attribution").axes[0]
    assert heights(axes, "weight") == pytest.approx([0.0, *[np.log10(WEIGHT)] * 5])
    assert heights(axes, "activation") == pytest.approx([0.0, *[np.log10(SLOPE)] * 5])
    assert all(bar.get_y() == 0.0 for container in axes.containers for bar in container)
    low, high = axes.get_ylim()
    assert low < np.log10(SLOPE)
    assert high > np.log10(WEIGHT)
    assert axes.get_ylabel() == "decades, going back"


def test_losses_of_two_kinds_are_stacked():
    axes = plot(told(weight=0.5), "attribution").axes[0]
    weights, slopes = (next(c for c in axes.containers if c.get_label() == kind) for kind in ("weight", "activation"))
    assert slopes[3].get_y() == pytest.approx(weights[3].get_height())
    assert axes.get_ylim()[0] < np.log10(0.5) + np.log10(SLOPE)


def test_the_whole_stands_beside_the_layers_and_adds_up():
    (axes,) = whole(plot(told(), "attribution"))
    total = 5 * (np.log10(WEIGHT) + np.log10(SLOPE))
    assert heights(axes, "end to end") == pytest.approx([total])
    assert heights(axes, "weight")[0] + heights(axes, "activation")[0] == pytest.approx(total)
    assert f"{total:+.1f}" in [t.get_text() for t in axes.texts]


def test_the_sentence_says_what_each_kind_gives_or_takes_and_what_is_left():
    text = " ".join(t.get_text() for t in plot(told(), "attribution").findobj(Text)).replace("\n", " ")
    assert "3.5 decades are lost in the activations' derivatives and 2.4 decades are gained in the weights" in text
    assert "1.1 decades are lost end to end" in text


def test_kinds_differ_in_colour_and_hatch():
    assert len({look.colour for look in theme.KINDS.values()}) == len(theme.KINDS)
    assert len({look.hatch for look in theme.KINDS.values()}) == len(theme.KINDS)
    patches = plot(told(), "attribution").legends[0].legend_handles
    assert [p.get_hatch() for p in patches] == [theme.KINDS["weight"].hatch, theme.KINDS["activation"].hatch]


def test_what_cannot_be_told_apart_is_so_named():
    page = plot(case("vanishing")[0], "attribution")
    assert "what cannot be told apart" in [t.get_text() for t in page.legends[0].get_texts()]
    assert "19 layers cannot be told apart" in " ".join(t.get_text() for t in page.findobj(Text))


def test_of_a_thousand_layers_neighbours_are_added_up_and_none_is_lost():
    page = plot(case("thousand")[0], "attribution")
    axes = page.axes[0]
    (found,) = axes.containers
    assert len(found) <= bars.MOST
    assert sum(heights(axes, "other")) == pytest.approx(heights(whole(page)[0], "end to end")[0])
    assert axes.get_xlabel() == "layer, from input to output (each bar: 9 layers)"


def test_compared_runs_have_one_scale_each_for_layers_and_whole():
    page = plot([told("a"), told("b", weight=1.1)], "attribution", reports=[Report("a", 8), Report("b", 8)])
    wholes = whole(page)
    layers = [axes for axes in page.axes if axes not in wholes]
    assert len(wholes) == len(layers) == 2
    assert len({axes.get_ylim() for axes in wholes}) == len({axes.get_ylim() for axes in layers}) == 1


def test_a_finding_is_a_band_over_its_layers():
    run, report = case("vanishing")
    axes = plot(run, "attribution", reports=[report]).axes[0]
    spans = [p for p in axes.findobj(Rectangle) if p.get_gid() == "finding-GS101" and p.get_height() > 0.5]
    assert [(s.get_x(), s.get_x() + s.get_width()) for s in spans] == [(0.5, 12.5)]


def test_the_data_are_decades_by_kind_of_each_layer_and_of_the_whole():
    rows = list(FIGURES["attribution"].data([told()]))
    assert {row.signal for row in rows} == {"decades_weight", "decades_activation"}
    layers = [row.value for row in rows if row.step == 2 and row.layer and row.signal == "decades_weight"]
    (total,) = [row.value for row in rows if row.step == 2 and not row.layer and row.signal == "decades_weight"]
    assert len(layers) == 5
    assert total == pytest.approx(sum(layers)) == pytest.approx(5 * np.log10(WEIGHT))


def test_over_the_steps_nothing_is_drawn_where_the_gradient_is_not_finite():
    run, _ = case("nan-for-a-while")
    below = plot(run, "attribution").axes[1]
    (line,) = [line for line in below.get_lines() if line.get_label() == "end to end"]
    steps, values = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    inside = (steps >= 80) & (steps < 100)
    assert inside.any()
    assert np.isnan(values[inside]).all()
    assert np.isfinite(values[~inside]).all()


def test_where_a_layer_has_no_finite_gradient_there_is_no_whole():
    page = plot(case("sixty-decades")[0], "attribution")
    (axes,) = whole(page)
    assert not axes.axison
    assert "not told" in axes.texts[0].get_text()


def test_of_one_layer_it_says_that_there_is_no_way_to_another():
    (axes,) = plot(case("one-layer")[0], "attribution").axes
    assert "one layer alone" in axes.texts[0].get_text()
