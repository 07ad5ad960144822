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


def test_a_report_says_which_rules_were_not_asked() -> None:
    some = Report("mine", 1200, not_asked=("GS101", "GS103"))
    assert str(some) == "healthy: mine, 1,200 steps, GS101, GS103 not asked"
    assert some.to_dict()["not_asked"] == ["GS101", "GS103"]
    many = Report("mine", 1200, not_asked=("GS101", "GS102", "GS103", "GS104"))
    assert str(many) == "healthy: mine, 1,200 steps, 4 rules not asked"
    assert "not asked" not in str(Report("mine", 1200))


def test_what_a_healthy_verdict_is_worth_is_printed_and_part_of_the_json() -> None:
    report = Report("mine", 1, remark="More steps may show what is wrong.")
    assert str(report).splitlines() == ["healthy: mine, 1 step", "More steps may show what is wrong."]
    assert report.to_dict()["remark"] == "More steps may show what is wrong."
    assert Report("mine", 1).to_dict()["remark"] is None
