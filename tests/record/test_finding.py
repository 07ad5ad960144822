"""Findings and reports as they print themselves and as JSON."""

from __future__ import annotations

from gradscope.record.finding import Finding, Report, Severity

SICK = Finding("GS101", "vanishing-gradients", Severity.ERROR, "The gradient is small.", "backward_ratio", 4e-12, 1e-2)
INFO = Finding("GS106", "stalled-layers", Severity.INFO, "It stands still.", "update_ratio", 0.0, 1e-3)


def test_a_finding_prints_as_one_line() -> None:
    assert str(SICK) == "error GS101 vanishing-gradients: The gradient is small."


def test_a_report_prints_its_verdict_and_a_line_for_each_finding() -> None:
    assert str(Report("mine", 1200, (SICK, INFO))).splitlines() == [
        "pathological: mine, 1,200 steps",
        "error GS101 vanishing-gradients: The gradient is small.",
        "info GS106 stalled-layers: It stands still.",
    ]


def test_what_a_healthy_verdict_is_worth_is_printed_and_part_of_the_json() -> None:
    report = Report("mine", 1, remark="More steps may show what is wrong.")
    assert str(report).splitlines() == ["healthy: mine, 1 step", "More steps may show what is wrong."]
    assert report.to_dict()["remark"] == "More steps may show what is wrong."
    assert Report("mine", 1).to_dict()["remark"] is None
