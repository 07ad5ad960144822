"""The report as people meet it, in a browser: it draws, answers to pointer and keys, and asks for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps

from gradscope.detect.comparison import compare
from gradscope.record.finding import Report
from gradscope.record.grid import Block
from gradscope.record.manifest import Manifest
from gradscope.record.run import Run
from gradscope.render.report.page import page
from gradscope.render.report.payload import payload
from gradscope.render.rows import labels
from gradscope.signals.profiles import depth_profile
from tests import synthetic
from tests.render.cases import case
from tests.render.report.browser import Browser, Page

HOSTILE = "<img src=x onerror=alert(1)>"
LEFT, RIGHT, TOP, BOTTOM = 104, 28, 8, 58
"""Pixels around the map's cells."""
CIVIDIS = 6
"""How far a channel may be from Matplotlib's: 32 colours stand for its 256, with straight lines between them."""
Opened = Callable[..., Page]


@cache
def spiked() -> Run:
    """Thirty level layers over 5,000 steps, at one of which one of them leaps; with markup wherever a word may stand."""
    sink = synthetic.recorded(HOSTILE, 30, 5_000, gain=1.0)
    catalogue = sink.manifest.catalogue

    def change(block: Block) -> Block:
        if "backward_norm" in block.columns and len(block.entities) == 30:
            block.columns["backward_norm"][3_777, 11] *= 1e5
        return replace(block, entities=tuple((HOSTILE if n == "layers.0" else n, i) for n, i in block.entities))

    renamed = replace(catalogue, layers=(replace(catalogue.layers[0], name=HOSTILE), *catalogue.layers[1:]))
    return synthetic.changed(sink, change, catalogue=renamed, config={"model": {HOSTILE: HOSTILE}}, notes=(HOSTILE,))


def hostile() -> tuple[Run, Report]:
    run = spiked()
    remedies = (HOSTILE, f"{HOSTILE}\n    for layer in model:  # {HOSTILE}\n        reset(layer)")
    finding = replace(synthetic.vanishing_report(run).findings[0], message=HOSTILE, layers=(HOSTILE,), remedies=remedies)
    return run, Report(HOSTILE, run.step_count, (finding,))


def html(runs: Sequence[Run], reports: Sequence[Report]) -> str:
    return page(payload(runs, reports, compare(runs, reports, labels(runs))))


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Opens the report of some cases, each only once."""
    folder, pages = tmp_path_factory.mktemp("pages"), {}
    with ExitStack() as stack:

        def opened(*names: str) -> Page:
            if names not in pages:
                file = folder / f"{len(pages)}.html"
                shown = [hostile() if name == "hostile" else case(name) for name in names]
                file.write_text(html(*zip(*shown, strict=True)), "utf-8")
                pages[names] = stack.enter_context(browser.page())
                pages[names].open(file.as_uri())
            return pages[names]

        yield opened


def cell(shown: Page, run: Run, step: int, layer: int, *, of: str = "#map-0", steps: int = 0) -> tuple[float, float]:
    """Where a cell stands in its map over so many steps, in shares of the chart's width and height."""
    _, _, width, height = shown.box(of)
    x = LEFT + (width - LEFT - RIGHT) * (step + 0.5) / (steps or run.step_count)
    count = len(depth_profile(run).layers)
    y = TOP + (height - TOP - BOTTOM) * (count - 0.5 - layer) / count
    return x / width, y / height


def pixel(picture: np.ndarray, at: tuple[float, float]) -> np.ndarray:
    height, width, _ = picture.shape
    return picture[int(at[1] * height), int(at[0] * width)].astype(int)


@pytest.mark.parametrize(
    "names", [("vanishing",), ("exploding",), ("forgetful",), ("thousand",), ("vanishing", "shallow", "exploding")]
)
def test_a_report_draws_without_a_complaint_and_asks_for_nothing(opened: Opened, names: tuple[str, ...]) -> None:
    shown = opened(*names)
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith("data:")] == shown.requests[:1]
    assert shown.requests[0].startswith("file:///")
    assert shown.run("document.querySelectorAll('.chart canvas').length") >= 2 + len(names)


def test_a_request_and_a_thrown_error_would_be_noticed(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('no'); throw new Error('broken')</script>", "utf-8"
    )
    with browser.page() as shown:
        shown.open(bad.as_uri())
        assert "http://127.0.0.1:9/x.png" in shown.requests
        assert any("broken" in complaint for complaint in shown.complaints)
        assert any("'no'" in complaint for complaint in shown.complaints)


def test_a_page_that_does_not_answer_is_given_up_once_and_it_is_said_what_was_waited_for(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = "tests.render.report.browser.PATIENCE"
    with browser.page() as shown:
        shown.run("setInterval(() => console.log('busy'), 20)")  # what it says meanwhile is no answer
        shown.run("requestAnimationFrame = () => {}")
        with monkeypatch.context() as patched:
            patched.setattr(patience, 4.0)
            with pytest.raises(RuntimeError, match=r"no frame drawn in 2 s: the page is visible"):
                shown.settle()
            patched.setattr(patience, 1.0)
            for _ in range(2):
                with pytest.raises(TimeoutError, match=r"Runtime.evaluate .*new Promise.* the last events .*consoleAPICalled"):
                    shown.run("new Promise(() => {})")


def test_the_map_has_the_colour_of_each_cells_size(opened: Opened) -> None:
    run, _ = case("vanishing")
    shown = opened("vanishing")
    picture, profile = shown.picture("#map-0"), depth_profile(run)
    logs = np.log10(profile.values)
    for step, layer in ((20, 0), (100, 5), (150, 12), (180, 19)):
        share = (logs[step, layer] - logs.min()) / (logs.max() - logs.min())
        expected = np.array(colormaps["cividis"](share)[:3]) * 255
        assert abs(pixel(picture, cell(shown, run, step, layer)) - expected).max() <= CIVIDIS


def test_nan_and_infinity_have_their_own_colours_and_the_legend_says_since_when(opened: Opened) -> None:
    run, _ = case("exploding")
    shown = opened("exploding")
    picture, layer = shown.picture("#map-0"), 15
    beyond = np.array([pixel(picture, cell(shown, run, step, layer)) for step in range(125, 199)])
    nan, white = np.array([197, 27, 27]), np.array([255, 255, 255])
    near = (abs(beyond - nan).max(axis=1) <= 2) | (abs(beyond - white).max(axis=1) <= 2)
    assert near.mean() > 0.9  # the cursor may cross one
    assert (abs(beyond - nan).max(axis=1) <= 2).mean() > 0.5
    assert "NaN (from step 121)" in shown.text("#map-legend")
    assert "infinite (from step 120)" in shown.text("#map-legend")


def test_a_spike_of_one_step_among_five_thousand_is_seen(opened: Opened) -> None:
    shown, run = opened("hostile"), spiked()
    shown.choose("#step", 0)
    assert "frames" in shown.text("#profile-legend")
    picture = shown.picture("#map-0")
    line, other = (picture[int(cell(shown, run, 3_777, at)[1] * len(picture)), LEFT + 2 : -RIGHT] for at in (11, 12))
    bright = np.flatnonzero(line.sum(axis=1, dtype=int) > np.median(line.sum(axis=1, dtype=int)) + 150)
    assert 1 <= len(bright) <= 3
    assert abs(bright.mean() + 2.5 - 3_777.5 / 5_000 * (picture.shape[1] - LEFT - RIGHT)) < 2
    assert (abs(other.sum(axis=1, dtype=int) - np.median(other.sum(axis=1, dtype=int))) < 60).all()


def test_the_step_slider_moves_the_profile(opened: Opened) -> None:
    shown = opened("exploding")
    shown.choose("#step", 5)
    before, said = shown.picture("#profile"), shown.text("#profile-title")
    assert said.endswith("at step 5")
    assert shown.text("#step-words") == "5 of 199"
    shown.choose("#step", 110)
    assert shown.text("#profile-title").endswith("at step 110")
    assert (shown.picture("#profile") != before).any()


def test_the_pointer_on_the_map_reads_the_number_there(opened: Opened) -> None:
    run, _ = case("vanishing")
    shown, profile = opened("vanishing"), depth_profile(run)
    shown.point("#map-0", *cell(shown, run, 150, 3))
    words = shown.text("#readout")
    assert "layers.6" in words
    assert "step 150" in words
    assert float(words.split()[-1]) == pytest.approx(profile.values[150, 3], rel=0.01)  # three digits


def test_a_click_on_the_map_chooses_step_and_layer_for_all_charts(opened: Opened) -> None:
    run, _ = case("vanishing")
    shown = opened("vanishing")
    shown.click("#map-0", *cell(shown, run, 42, 7))
    assert shown.text("#profile-title").endswith("at step 42")
    assert "at step 42" in shown.text("#loss-readout")
    assert "layers.14" in shown.text("#readout")


def test_a_findings_link_leads_to_its_signal_and_layers(opened: Opened) -> None:
    shown = opened("vanishing")
    shown.choose("#step", 3)
    shown.click(".finding a.show")
    assert shown.run("document.querySelector('#signal').value") == "backward_ratio"
    assert shown.text("#profile-title").endswith("at step 199")
    assert "layers.0" in shown.text("#readout")
    assert shown.run("location.hash") == "#gradient"
    top = shown.run("document.querySelector('#gradient').getBoundingClientRect().top")
    assert -1 <= top < 640
    shown.choose("#signal", "backward_norm")


def test_the_keyboard_moves_layer_and_step(opened: Opened) -> None:
    shown = opened("vanishing")
    shown.run("document.querySelector('#profile').focus()")
    shown.press("Home")
    assert "layers.0 " in shown.text("#readout")
    shown.press("ArrowRight")
    assert "layers.2 " in shown.text("#readout")
    shown.press("End")
    assert "layers.38 " in shown.text("#readout")
    shown.run("document.querySelector('#map-0').focus()")
    shown.choose("#step", 50)
    shown.press("ArrowLeft")
    assert shown.text("#step-words") == "49 of 199"
    shown.press("ArrowDown")
    assert "layers.36 " in shown.text("#readout")


def test_every_control_is_reached_by_the_tab_key_and_has_a_name(opened: Opened) -> None:
    shown = opened("forgetful")
    shown.run("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(40):
        shown.press("Tab")
        at = shown.run("document.activeElement.id || document.activeElement.tagName")
        if at in reached and at not in ("A", "BUTTON", "SUMMARY"):
            break
        reached.append(at)
    assert {"theme", "signal", "search", "log", "linear", "step", "map-0", "profile", "series", "column"} <= set(reached)
    tree = shown.call("Accessibility.getFullAXTree")["nodes"]
    asking = {"button", "combobox", "slider", "searchbox", "image", "img"}
    unnamed = [n for n in tree if n["role"]["value"] in asking and not n.get("ignored") and not n["name"]["value"]]
    assert unnamed == []


def test_the_search_finds_a_layer_and_enter_goes_on_to_the_next(opened: Opened) -> None:
    shown = opened("thousand")
    shown.write("#search", "layers.1442")
    assert shown.text("#found") == "1 of 1000"
    assert "layers.1442 " in shown.text("#readout")
    shown.write("#search", "layers.99")
    assert shown.text("#found") == "5 of 1000"
    shown.press("Enter")
    shown.press("Enter")
    assert "layers.994 " in shown.text("#readout")
    shown.write("#search", "no such layer")
    assert shown.text("#found") == "0 of 1000"


def test_linear_heights_are_drawn_on_request(opened: Opened) -> None:
    shown = opened("vanishing")
    before = shown.picture("#profile")
    shown.click("#linear")
    assert shown.run("document.querySelector('#linear').getAttribute('aria-pressed')") == "true"
    assert (shown.picture("#profile") != before).any()
    shown.click("#log")
    assert shown.run("document.querySelector('#log').getAttribute('aria-pressed')") == "true"


def test_zoom_shows_part_of_the_map_with_marks_of_its_own_and_all_again(opened: Opened) -> None:
    shown = opened("thousand")
    chart = "echarts.getInstanceByDom(document.querySelector('#map-0')).getOption()"
    marks = f"{chart}.yAxis[0].axisLabel.customValues"
    all_of_it = shown.run(marks)
    assert all_of_it[0] == 0
    assert all_of_it[-1] == 999
    for _ in range(6):
        shown.click("[data-zoom='0.6']")
    inside = shown.run(marks)
    assert len(inside) > 5
    assert inside[0] > 470
    assert inside[-1] < 530
    shown.click("[data-zoom='0']")
    assert shown.run(marks) == all_of_it


def test_what_takes_the_gradient_away_is_said_and_read_bar_by_bar(opened: Opened) -> None:
    run, _ = case("vanishing")
    shown, values = opened("vanishing"), depth_profile(run).values
    shown.choose("#step", 199)
    decades = float(np.log10(values[199, 0] / values[199, -1]))
    assert f"{-decades:.1f} decades are lost end to end" in shown.text("#cause-words")
    shown.point("#attribution", 0.5, 0.3)
    assert "→" in shown.text("#cause-readout")


def test_a_thousand_links_are_drawn_as_few_bars(opened: Opened) -> None:
    assert "each bar: 9 links" in opened("thousand").text("#cause-legend")


def test_several_runs_stand_on_one_scale_and_each_ones_cause_can_be_asked_for(opened: Opened) -> None:
    names = ("vanishing", "shallow", "exploding")
    shown = opened(*names)
    assert shown.run("[...document.querySelectorAll('.verdict .said')].map((e) => e.textContent)") == [
        "✗ pathological",
        "✓ healthy",
        "✗ pathological",
    ]
    logs = [np.log10(v[np.isfinite(v)]) for v in (depth_profile(case(name)[0]).values for name in names)]
    low, high = min(v.min() for v in logs), max(v.max() for v in logs)
    run, (step, layer) = case("shallow")[0], (20, 2)
    share = (np.log10(depth_profile(run).values[step, layer]) - low) / (high - low)
    longest = case("vanishing")[0].step_count
    wide = cell(shown, run, step, layer, of="#map-1", steps=longest)
    expected = np.array(colormaps["cividis"](share)[:3]) * 255
    assert abs(pixel(shown.picture("#map-1"), wide) - expected).max() <= CIVIDIS
    assert "At step" in shown.text("#cause-words")
    after = pixel(shown.picture("#map-1"), cell(shown, run, run.step_count + 20, layer, of="#map-1", steps=longest))
    assert after.min() == 255  # it ended long before the others
    shown.choose("#step", longest - 1)
    assert shown.text("#profile-title").endswith(f"at step {longest - 1}, or the last one before it")
    shown.choose("#step", 100)
    shown.choose("#cause-run", "2")
    assert "gained end to end" in shown.text("#cause-words")


def test_names_and_configs_are_data_and_never_markup(opened: Opened) -> None:
    shown = opened("hostile")
    shown.click(".finding a.show")
    shown.run("for (const d of document.querySelectorAll('details')) d.open = true")
    shown.write("#search", "<img")
    assert shown.text("#found") == "1 of 30"
    assert HOSTILE in shown.text("#readout")
    assert HOSTILE in shown.text("#config-body")
    assert HOSTILE in shown.text(".finding .message")
    assert HOSTILE in shown.text("#profile-table")
    assert HOSTILE in shown.text("#verdict")
    assert shown.run("document.querySelectorAll('img, main script').length") == 0
    assert not shown.seen("Page.javascriptDialogOpening")
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith("data:")] == shown.requests[:1]


def test_the_code_of_a_remedy_has_lines_of_its_own_to_be_copied(opened: Opened) -> None:
    shown = opened("hostile")
    code = shown.run("[...document.querySelectorAll('.finding dd pre')].map((e) => e.innerText)")
    assert code == [f"for layer in model:  # {HOSTILE}\n    reset(layer)"]
    assert "\\u000a" not in shown.text(".finding")


def test_of_a_record_without_a_step_it_is_said_that_nothing_could_be_judged(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "empty.html"
    file.write_text(html([Run(Manifest("empty"), {})], [Report("empty", 0)]), "utf-8")
    with browser.page() as shown:
        shown.open(file.as_uri())
        assert shown.text("#findings-list") == "No step was recorded: there is nothing to judge."
        assert shown.complaints == []


def test_dark_is_taken_from_the_system_and_can_be_chosen(opened: Opened) -> None:
    shown = opened("forgetful")
    assert shown.picture("#profile")[0, 0].min() == 255
    shown.media(dark=True)
    assert shown.picture("#profile")[0, 0].max() < 60
    assert shown.picture(".verdict")[0, 0].max() < 60
    shown.click("#theme")
    assert shown.picture("#profile")[0, 0].min() == 255
    shown.media()


def test_four_hundred_pixels_hold_everything_without_scrolling_sideways(opened: Opened) -> None:
    shown = opened("vanishing")
    shown.resize(400, 800)
    shown.settle()
    assert shown.run("document.documentElement.scrollWidth") <= 400
    over = "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, .wide, .chart, .skip'))"
    beyond = shown.run(f"{over}.filter((e) => e.getBoundingClientRect().right > 401).map((e) => e.outerHTML.slice(0, 80))")
    assert beyond == []
    shown.resize(960, 640)
    shown.settle()


def test_in_print_there_are_charts_on_white_and_no_controls(opened: Opened) -> None:
    shown = opened("forgetful")
    shown.media("print", dark=True)
    assert shown.run("getComputedStyle(document.querySelector('.controls')).display") == "none"
    assert shown.picture("#map-0")[2, 2].min() == 255
    assert len(np.unique(shown.picture("#map-0").reshape(-1, 3), axis=0)) > 50
    shown.media()
    assert shown.pdf().startswith(b"%PDF")


def test_the_tables_hold_the_numbers_of_the_charts(opened: Opened) -> None:
    run, _ = case("exploding")
    shown = opened("exploding")
    shown.choose("#step", 120)
    shown.run("document.querySelector('#profile-table').open = true")
    shown.settle()
    rows = shown.run(
        "[...document.querySelectorAll('#profile-table tbody tr')].map((r) => [...r.children].map((c) => c.textContent))"
    )
    profile = depth_profile(run)
    assert [name for name, _ in rows] == list(profile.layers)
    assert [said for _, said in rows[:10]] == ["inf"] * 10
    for (_, said), value in zip(rows[10:], profile.values[120, 10:], strict=True):
        assert float(said.replace(",", "")) == pytest.approx(value, rel=0.01)
