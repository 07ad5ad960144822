import io
import re

import pytest

from gradscope.record.finding import Finding, Report, Severity
from gradscope.record.manifest import Manifest
from gradscope.record.run import Run
from gradscope.render import FORMATS
from gradscope.render.terminal import Terminal
from tests import synthetic
from tests.render.cases import MAKERS, case

write = FORMATS["text"].write


def test_a_finding_says_where_when_how_much_why_and_what_to_do():
    run, report = case("vanishing")
    text = write(report, run)
    assert text.startswith("✗ pathological: 1 error   plain-sigmoid-20   20 layers, 200 steps, finished")
    for part in (
        "error GS101 vanishing-gradients  confidence 0.98",
        "layers    layers.0-layers.22 (12 of 20)",
        "steps     0-199",
        "measured  backward_ratio 1.67e-12, under the threshold 0.001 by 6e8 times",
        "chance alone gives no less than 0.04 at this width",
        "(GS202)",
        "try       use ReLU with He initialisation (model.activation=relu)",
    ):
        assert part in text


def test_the_strip_of_the_gradient_stands_under_the_verdict():
    run, report = case("vanishing")
    lines = write(report, run).split("\n")
    at = next(i for i, line in enumerate(lines) if set(line.strip()) <= set("▁▂▃▄▅▆▇█") and line.strip())
    assert len(lines[at].strip()) == 20
    assert lines[at + 1].strip().startswith("step 199: 4.8e-13 to ")


def test_a_run_that_broke_shows_the_last_step_that_was_finite_too():
    run, report = case("exploding")
    text = write(report, run)
    assert "step 119: 0.31 to" in text
    assert "step 199: ×: NaN" in text


def test_a_healthy_run_and_one_without_a_step_say_so():
    run, report = case("shallow")
    assert write(report, run).startswith("✓ healthy: nothing found")
    empty = synthetic.empty()
    assert write(Report("empty", 0), empty).startswith("? inconclusive: no step was recorded")


def test_findings_that_are_information_alone_are_not_counted_as_sickness():
    finding = Finding("GS999", "note", Severity.INFO, "m", "loss", 1.0, 2.0)
    text = write(Report("r", 5, (finding,)))
    assert text.startswith("✓ healthy: nothing serious")
    assert "info GS999 note" in text


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("of", MAKERS)
def test_no_line_is_wider_than_the_terminal(of, width):
    run, report = case(of)
    text = write(report, run, terminal=Terminal(width=width))
    assert max(len(line) for line in text.split("\n")) <= width


def test_a_wide_terminal_gets_no_sentence_that_is_too_long_to_read():
    run, report = case("vanishing")
    assert max(len(line) for line in write(report, run, terminal=Terminal(width=200)).split("\n")) <= 110


def test_there_is_colour_only_where_it_is_asked_for():
    run, report = case("vanishing")
    assert "\x1b" not in write(report, run)
    coloured = write(report, run, terminal=Terminal(colour=True))
    assert "\x1b[1;31m✗ pathological" in coloured
    bare = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).split("\n")]
    assert "\n".join(bare) == write(report, run)


def test_a_terminal_without_unicode_gets_ascii_alone():
    for of in MAKERS:
        run, report = case(of)
        assert write(report, run, terminal=Terminal(unicode=False)).isascii()


def test_names_and_messages_are_data():
    nasty = "[red]\x1b[2J[/red]"
    finding = Finding(
        "GS101", "rule", Severity.ERROR, f"m {nasty}", "s", 1.0, 2.0, layers=(nasty,), cause=nasty, remedies=(nasty,)
    )
    text = write(Report(nasty, 5, (finding,)), Run(Manifest(nasty, notes=(nasty,)), {}), terminal=Terminal(200))
    assert "\x1b" not in text
    assert text.count("[red]\\x1b[2J[/red]") == 6


def test_what_could_not_be_seen_is_noted():
    run = Run(Manifest("r", notes=("compiled: no layer could be watched",)), {})
    assert "note: compiled: no layer could be watched" in write(Report("r", 0), run)


class Stream(io.StringIO):
    def __init__(self, *, tty: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self.tty, self.name_of_encoding = tty, encoding

    def isatty(self) -> bool:
        return self.tty

    @property
    def encoding(self) -> str:
        return self.name_of_encoding


@pytest.mark.parametrize(
    ("tty", "environment", "colour", "interactive"),
    [
        (True, {}, True, True),
        (True, {"NO_COLOR": "1"}, False, True),
        (True, {"TERM": "dumb"}, False, False),
        (True, {"CI": "true"}, True, False),
        (False, {}, False, False),
        (False, {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour_and_redrawing_depend_on_the_stream_and_the_environment(tty, environment, colour, interactive):
    terminal = Terminal.of(Stream(tty=tty), environment)
    assert (terminal.colour, terminal.interactive) == (colour, interactive)


def test_a_stream_that_cannot_encode_blocks_gets_none():
    assert Terminal.of(Stream(tty=False), {}).unicode
    assert not Terminal.of(Stream(tty=False, encoding="ascii"), {}).unicode
    assert not Terminal.of(Stream(tty=False, encoding="latin-1"), {}).unicode
