"""A run and a report in a notebook."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from gradscope.record.finding import Finding, Report, Severity
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo
from gradscope.record.run import Run

EVIL = "<img src=x onerror=alert(1)>"


class Read(HTMLParser):
    """Tags that are open, every tag that occurs, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_rules_that_were_not_asked_are_told() -> None:
    assert "1,200 steps, GS101 not asked" in Read(replace(report(), not_asked=("GS101",))._repr_html_()).text


def report(*findings: Finding) -> Report:
    return Report(EVIL, 1200, findings)


def sick(value: float = 4e-12) -> Finding:
    return Finding(
        "GS101",
        "vanishing-gradients",
        Severity.ERROR,
        f"The gradient at {EVIL} is small.",
        "backward_ratio",
        value,
        1e-2,
        layers=(EVIL, "a", "b", "c", "d"),
        steps=(0, 1199),
        cause=EVIL,
        remedies=(EVIL, "another"),
    )


def test_a_report_shows_verdict_evidence_and_remedies() -> None:
    shown = Read(report(sick())._repr_html_())
    for words in (
        "pathological",
        "1 finding, 1,200 steps",
        "GS101",
        "0-1,199",
        "4e-12, threshold 0.01",
        "and 2 more",
        "another",
    ):
        assert words in shown.text
    assert not shown.open


def test_the_code_of_a_remedy_keeps_its_lines_and_its_indentation() -> None:
    finding = replace(sick(), remedies=("draw the weights anew\n    for m in model.modules():\n        reset(m)",))
    html = report(finding)._repr_html_()
    assert "for m in model.modules():\n    reset(m)</pre>" in html
    assert not Read(html).open


def test_a_healthy_report_is_one_line() -> None:
    shown = Read(report()._repr_html_())
    assert "healthy" in shown.text
    assert "table" not in shown.tags


def test_what_is_not_finite_is_named() -> None:
    assert "backward_ratio NaN" in Read(report(sick(float("nan")))._repr_html_()).text


def test_a_run_shows_how_it_ended_and_what_was_watched() -> None:
    layers = tuple(LayerInfo(EVIL, EVIL, i, trunk=i < 2) for i in range(3))
    parameters = (ParameterInfo(EVIL, EVIL, (30, 50)), ParameterInfo("b", EVIL, (30,)))
    shown = Read(Run(Manifest(EVIL, reason=EVIL, notes=(EVIL,), catalogue=Catalogue(layers, parameters)), {})._repr_html_())
    for words in ("running", "3, 2 on the way", "1,530 in 2 tensors", "in memory"):
        assert words in shown.text
    assert not shown.open


def test_names_are_text_and_never_markup() -> None:
    for html in (report(sick())._repr_html_(), Run(Manifest(EVIL, reason=EVIL, notes=(EVIL,)), {})._repr_html_()):
        shown = Read(html)
        assert shown.tags <= {"div", "p", "b", "span", "table", "thead", "tbody", "tr", "th", "td"}
        assert EVIL in shown.text
