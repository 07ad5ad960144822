"""What holds of every figure, whatever it shows and of whatever run."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, Status
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink
from gradscope.render import FIGURES, plot, theme
from gradscope.render.rows import Row
from tests.render.cases import MAKERS, case
from tests.signals.makers import block, chain

NAMES = tuple(FIGURES.built_in)
NAMING_LAYERS = ("profile", "heatmap", "overview", "signal")
SICK = {"through-time": "forgetful"}
"""The case that a figure has something to say of, where it is not ``vanishing``."""


def drawn(name: str, *cases: str) -> Figure:
    runs, reports = zip(*(case(c) for c in cases), strict=True)
    figure = plot(runs, name, reports=reports)
    with theme.style():
        figure.canvas.draw()
    return figure


def shown(figure: Figure) -> list[Text]:
    """Every text that leaves ink, ticks' labels within their axes' limits among them."""
    ticks = {
        label for axes in figure.axes for label in (*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both"))
    }
    out = {
        tick.label1
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not (min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval()))
    }
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in out]
    off = {label for axes in figure.axes if not axes.axison for label in (axes.xaxis.label, axes.yaxis.label)}
    return [t for t in texts if t not in off and (t not in ticks or t.get_figure() is not None)]


@pytest.mark.parametrize("name", NAMES)
def test_a_figures_file_holds_what_a_figure_needs(name):
    module = FIGURES[name]
    assert name == module.NAME
    assert module.TITLE
    assert module.__doc__.endswith(".\n") or module.__doc__.endswith(".")
    run, report = case("shallow")
    width, height = module.size([run], [report])
    assert 4.0 <= width <= 20.0
    assert 3.0 <= height <= 20.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("of", MAKERS)
def test_every_figure_draws_every_run_with_all_its_words_on_the_page_and_none_over_another(name, of):
    figure = drawn(name, of)
    renderer = figure.canvas.get_renderer()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in shown(figure)]
    assert boxes
    page = figure.bbox
    for text, box in boxes:
        assert box.x0 >= page.x0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.y1 <= page.y1 + 1, text
    for (one, a), (other, b) in combinations(boxes, 2):
        wide, tall = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or tall <= 3, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_overlays_several_runs(name):
    if name == "through-time":
        cases, runs = ("forgetful", "recurrent"), ("rnn-40 (1)", "rnn-40 (2)")
    else:
        cases, runs = ("vanishing", "shallow", "exploding"), ("plain-sigmoid-20", "relu-he-5", "exploding-20")
    figure = drawn(name, *cases)
    words = " ".join(t.get_text() for t in figure.findobj(Text))
    for run in runs:
        assert run in words


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_marks_its_findings_by_code(name):
    figure = drawn(name, SICK.get(name, "vanishing"))
    assert any("GS101" in t.get_text() for t in figure.findobj(Text))
    assert any(artist.get_gid() == "finding-GS101" for artist in figure.findobj())


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_without_reports_marks_nothing(name):
    figure = plot(case(SICK.get(name, "vanishing"))[0], name)
    assert not any("GS101" in t.get_text() for t in figure.findobj(Text))
    assert not any((artist.get_gid() or "").startswith("finding") for artist in figure.findobj())


@pytest.mark.parametrize("name", NAMES)
def test_names_are_data_and_never_markup(name):
    names = ("$\\frac{a}{$", "<img src=x onerror=alert(1)>", "\x1b[31mred", "层", "a_b^c" * 30)
    layers = tuple(LayerInfo(n, "Linear", i, trunk=True, width=8) for i, n in enumerate(names))
    sink = MemorySink(Manifest("$x_{", status=Status.FINISHED, catalogue=Catalogue(layers)))
    sink.append(block("layers", tuple((n, 0) for n in names), {"backward_norm": [[1.0] * 5], "forward_norm": [[1.0] * 5]}))
    sink.append(block("steps", (("", 0),), {"loss": [[1.0]]}))
    figure = plot(sink.run(), name)
    with theme.style(), pytest.warns(UserWarning, match="Glyph") if name in NAMING_LAYERS else nothing():
        figure.canvas.draw()
    assert not any("\x1b" in t.get_text() for t in figure.findobj(Text))


def nothing():
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_recorded_only_its_loss_says_so_instead_of_failing(name):
    figure = plot(chain(steps={"loss": [2.0, 1.0]}), name)
    if name not in ("loss",):
        assert any("was recorded" in t.get_text() for t in figure.findobj(Text))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_which_all_is_absent_says_so_in_every_figure(name):
    figure = drawn(name, "absent")
    assert any("was recorded" in t.get_text() for t in figure.findobj(Text))
    assert not any(axes.axison for axes in figure.axes)


@pytest.mark.parametrize("name", NAMES)
def test_all_nan_and_all_zero_runs_are_drawn(name):
    nan = float("nan")
    for value in (nan, 0.0, float("inf")):
        row = [[value] * 3] * 4
        run = chain(
            {"backward_norm": row, "forward_norm": row},
            {"grad_norm": row, "update_norm": row, "weight_norm": [[1.0] * 3] * 4},
            {"loss": [value] * 4},
        )
        plot(run, name).canvas.draw()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("of", ["vanishing", "exploding", "dead", "recurrent"])
def test_the_data_of_a_figure_is_the_record_unreduced_and_never_absent(name, of):
    run, _ = case(of)
    rows = list(FIGURES[name].data([run]))
    assert rows or (name, of) == ("activations", "recurrent") or (name == "through-time") != (of == "recurrent")
    assert all(isinstance(row, Row) for row in rows)
    states = {row.state for row in rows}
    assert "absent" not in states
    for row in rows:
        assert (row.timestep != "") == (name == "through-time")
        expected = "nan" if np.isnan(row.value) else "inf" if np.isinf(row.value) else "zero" if row.value == 0 else None
        assert row.state == (expected or ("underflow" if abs(row.value) < 1.17e-38 else "finite"))


@pytest.mark.parametrize("name", NAMES)
def test_matplotlibs_settings_are_the_users_again_afterwards(name):
    before = {key: value for key, value in matplotlib.rcParams.items() if key != "backend"}  # resolved when it is read
    plot(case("shallow")[0], name)
    assert before == {key: value for key, value in matplotlib.rcParams.items() if key != "backend"}


def test_a_run_of_an_unknown_figure_is_told_which_there_are():
    from gradscope.errors import UsageError

    with pytest.raises(UsageError, match="did you mean 'heatmap'"):
        plot(case("shallow")[0], "heatmaps")


def test_a_run_without_a_step_cannot_be_drawn():
    from gradscope.errors import UsageError

    empty = Run(Manifest("empty"), {})
    with pytest.raises(UsageError, match="'empty' has no step"):
        plot(empty)
    with pytest.raises(UsageError, match="no run"):
        plot([])


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("loss", "through-time", "overview")])
def test_of_several_runs_those_without_anything_to_draw_are_named(name):
    words = " ".join(" ".join(t.get_text() for t in drawn(name, "vanishing", "absent", "dead").findobj(Text)).split())
    assert "Of absent-8 there is nothing to draw." in words


@pytest.mark.parametrize("letter", ["i", "m", "W"])
def test_a_sentence_stays_within_the_page_whatever_its_letters(letter):
    figure = Figure(figsize=(4.0, 3.0))
    text = " ".join([letter * 6] * 40)
    lines = theme.wrapped(figure, text, 3.7, size=8.5)
    assert " ".join(lines) == text
    assert max(theme.wide(figure, line, size=8.5) for line in lines) <= 3.7
