"""Pictures of a sweep: what is drawn is what the table has, and theory's line is theory's."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gradscope import theory
from gradscope.errors import UsageError
from gradscope.render import save
from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.picture import draw
from gradscope.sweep.predicted import edge, predicted
from gradscope.sweep.table import Column, Row, Table, read_table
from gradscope.training.config import Config
from tests.cli.conftest import gradscope
from tests.cli.test_startup import imported

NETWORK = {"parameters": 1.0, "sigma_w": 1.0, "input_length": 1.0, "inputs": 64.0, "outputs": 10.0}


def row(depth: int, gain: float, seed: int, ratio: float, verdict: str = "healthy", codes: tuple[str, ...] = ()) -> Row:
    model = {"kind": "mlp", "depth": depth, "activation": "tanh", "init": {"scheme": "lecun_normal", "gain": gain}}
    config = Config.model_validate({"model": model, "data": {"name": "digits"}}).model_dump(mode="json")
    numbers = {"initial_backward_ratio": ratio, "loss": 1.0}
    outcome = Outcome(End.FINISHED, None, verdict, codes, numbers, {**NETWORK, "sigma_w": gain}, 1.0)
    return Row({"model.init.gain": gain, "model.depth": depth, "seed": seed}, outcome, "points/x", config)


def table(*rows: Row, keys: tuple[str, ...] = ("model.init.gain", "model.depth", "seed")) -> Table:
    kept = tuple(replace(r, at={k: r.at[k] for k in keys}) for r in rows)
    return Table("made", tuple(Column(k, k, k.endswith("gain"), True) for k in keys), ("initial_backward_ratio",), kept)


GRID = [row(d, g, s, g**d * (1.0 + 0.1 * s)) for g in (0.5, 1.0, 2.0) for d in (4, 8) for s in (0, 1)]


def test_a_curve_goes_through_the_mean_of_the_seeds_with_bars_of_their_spread() -> None:
    rows = [row(d, 1.0, s, float(d + s)) for d in (4, 8) for s in (0, 2)]
    above, lane = draw(table(*rows, keys=("model.depth", "seed")), figure="curve").axes
    (line,) = (x for x in above.lines if x.get_label().startswith("_child") or not x.get_label().startswith("_"))
    assert np.array_equal(np.asarray(line.get_xydata()), [[4.0, 5.0], [8.0, 9.0]])
    bars = [x for x in above.lines if x.get_label() == "_spread"]
    assert np.allclose(
        [b.get_ydata() for b in bars], [[5 - math.sqrt(2), 5 + math.sqrt(2)], [9 - math.sqrt(2), 9 + math.sqrt(2)]]
    )
    assert [t.get_text() for t in lane.texts] == ["✓", "✓"]


def test_where_seeds_differ_it_is_said_how_many_have_the_verdict() -> None:
    rows = [row(4, 1.0, s, 1.0, *(("pathological", ("GS101",)) if s < 2 else ())) for s in (0, 1, 2)]
    _, lane = draw(table(*rows, keys=("model.depth", "seed")), figure="curve").axes
    assert [t.get_text() for t in lane.texts] == ["✗2/3"]
    (axes,) = draw(table(*rows, keys=("model.depth", "seed")), "verdict").axes
    assert [t.get_text() for t in axes.texts] == ["✗ 2/3 GS101"]


def test_a_map_has_a_cell_a_place_with_its_number_and_its_sign() -> None:
    figure = draw(table(*GRID))
    axes = figure.axes[0]
    (image,) = axes.images
    heights = np.ma.filled(image.get_array(), np.nan)  # rows are depths, columns gains
    expected = [[math.log10(g**d * 1.05) for g in (0.5, 1.0, 2.0)] for d in (4, 8)]
    assert np.allclose(heights, expected)
    assert len(axes.texts) == 6
    assert all(text.get_text().startswith("✓ ") for text in axes.texts)


def test_what_has_no_place_on_a_scale_is_drawn_in_the_colour_of_its_state() -> None:
    rows = [row(4, 0.5, 0, 1e-9), row(4, 1.0, 0, 1.0), row(8, 0.5, 0, math.nan), row(8, 1.0, 0, 0.0)]
    figure = draw(table(*rows))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"NaN", "exactly 0"} <= set(labels)
    assert len(figure.axes[0].patches) == 2


def test_the_line_of_theory_is_the_gain_of_level_gradients_at_each_depth() -> None:
    for depth in (4, 8):
        found = edge(row(depth, 0.5, 0, 1.0), "model.init.gain")
        assert found is not None
        assert found[0] == pytest.approx(theory.level_gain("tanh", depth), rel=1e-9)
    figure = draw(table(*GRID))
    (line,) = (x for x in figure.axes[0].lines if x.get_gid() == "theory-edge")
    x = np.asarray(line.get_xdata(), float)
    gains = np.exp(np.interp(x, [0, 1, 2], np.log([0.5, 1.0, 2.0])))
    assert np.allclose(gains, [theory.level_gain("tanh", d) for d in (4, 8)])


def test_theory_predicts_each_points_ratio_from_its_own_network() -> None:
    one = row(8, 0.5, 0, 1.0)
    layers = theory.mlp(depth=8, width=64, inputs=64, outputs=10, activation="tanh", sigma_w=0.5)
    expected = theory.predict(layers, width=64).stations[0].backward_ratio
    assert predicted(one, "initial_backward_ratio") == pytest.approx(expected)
    assert predicted(one, "backward_ratio") is None  # of trained networks theory knows nothing


def test_along_the_depth_theory_ends_where_the_gradient_has_changed_as_much_as_the_detector_allows() -> None:
    from gradscope.detect.rules.vanishing_gradients import RATIO

    found = edge(row(20, 0.5, 0, 1.0), "model.depth")
    assert found is not None
    layers = theory.mlp(depth=20, width=64, inputs=64, outputs=10, activation="tanh", sigma_w=0.5)
    ratios = [s.backward_ratio for s in theory.predict(layers, width=64).stations][::-1]
    first_beyond = next(i for i, ratio in enumerate(ratios) if ratio < RATIO.value)
    assert found[0] == first_beyond + 1


def test_another_kind_of_network_has_no_line() -> None:
    config = Config.model_validate({"model": {"kind": "logistic"}, "data": {"name": "digits"}}).model_dump(mode="json")
    other = replace(GRID[0], config=config)
    assert predicted(other, "initial_backward_ratio") is None
    assert edge(other, "model.init.gain") is None


@pytest.mark.parametrize(
    ("signal", "figure", "message"),
    [
        ("los", None, "no number is called 'los'; did you mean 'loss'"),
        ("loss", "crve", "no picture of a sweep is called 'crve'; did you mean 'curve'"),
        ("loss", "verdicts", "a verdicts of loss cannot be drawn"),
    ],
)
def test_what_cannot_be_drawn_is_told(signal: str, figure: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        draw(table(*GRID), signal, figure)


def test_a_map_of_one_axis_is_told() -> None:
    with pytest.raises(UsageError, match="a map has two axes, and the sweep has one"):
        draw(table(*GRID[:2], keys=("model.depth", "seed")), figure="map")


def test_an_accuracy_is_drawn_from_none_to_all_whatever_it_spans() -> None:
    rows = [row(depth, 1.0, 0, 1.0) for depth in (4, 8, 16)]
    for one, accuracy in zip(rows, (0.97, 0.4, 0.02), strict=True):
        one.outcome.numbers["accuracy"] = accuracy  # type: ignore[index]
    above = draw(table(*rows, keys=("model.depth", "seed")), "accuracy", "curve").axes[0]
    assert above.get_yscale() == "linear"
    assert [label.get_text() for label in above.get_yticklabels()] == ["0%", "25%", "50%", "75%", "100%"]
    (line,) = (x for x in above.lines if not x.get_label().startswith("_") or x.get_label().startswith("_child"))
    assert np.array_equal(np.asarray(line.get_ydata()), [0.97, 0.4, 0.02])


def test_labels_of_values_that_lie_close_together_are_left_out_rather_than_printed_over_each_other() -> None:
    gains = [0.001, 1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 10.0]
    figure = draw(table(*(row(4, gain, 0, gain) for gain in gains), keys=("model.init.gain", "seed")), figure="curve")
    figure.canvas.draw()
    lane = figure.axes[1]
    boxes = sorted((label.get_window_extent() for label in lane.get_xticklabels()), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert [label.get_text() for label in lane.get_xticklabels()] == ["0.001", "1", "10"]


@pytest.mark.parametrize(("signal", "figure"), [(None, "curve"), ("loss", "curve"), ("sensitivity", "curve")])
def test_a_real_sweep_can_be_drawn(swept: Path, tmp_path: Path, signal: str | None, figure: str) -> None:
    drawn = save(draw(read_table(swept), signal, figure), tmp_path / "x.png")
    assert drawn.stat().st_size > 5_000


def test_plot_takes_a_sweeps_folder(swept: Path, tmp_path: Path) -> None:
    result = gradscope("plot", swept, "-f", "curve", "--signal", "loss", "-o", tmp_path / "x.svg")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "x.svg").read_bytes().startswith(b"<?xml")
    told = gradscope("plot", swept, "-f", "map", "-o", tmp_path / "y.png")
    assert told.stderr.splitlines() == ["error: a map has two axes, and the sweep has 3", "hint: draw a curve instead"]
    assert not (tmp_path / "y.png").exists()


def test_plotting_a_sweep_imports_no_torch(swept: Path, tmp_path: Path) -> None:
    modules = imported(tmp_path, "plot", swept, "-f", "curve", "-o", tmp_path / "x.png")
    assert "matplotlib" in modules
    assert not modules & {"torch", "sklearn"}
