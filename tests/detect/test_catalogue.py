"""Every rule has a page with all its parts, thresholds that say where they come from, and an example that brings it about."""

from __future__ import annotations

import inspect
import re

import pytest

from gradscope.detect import catalogue
from gradscope.detect.engine import RULES, ordered
from gradscope.detect.remedy import of_rule, reason, summary
from gradscope.errors import UsageError
from gradscope.numbers import number
from gradscope.record.finding import Severity
from scripts.examples import ROOT
from scripts.rule_pages import pages
from tests.test_configs import promised

CODES = {
    "vanishing-gradients": "GS101",
    "exploding-gradients": "GS102",
    "non-finite": "GS103",
    "gradient-underflow": "GS104",
    "missing-gradient": "GS105",
    "stalled-layers": "GS106",
    "dead-units": "GS201",
    "saturated-activations": "GS202",
    "unscaled-input": "GS203",
    "loss-instability": "GS301",
    "loss-spike": "GS302",
    "slow-learning": "GS303",
    "learning-rate-too-high": "GS304",
    "clipping-always-on": "GS305",
}
every_rule = pytest.mark.parametrize("name", sorted(CODES))


def test_the_codes_are_the_permanent_ones() -> None:
    assert {name: RULES[name].CODE for name in RULES.built_in} == CODES


@every_rule
def test_a_rule_is_complete(name: str) -> None:
    rule = RULES[name]
    assert name == rule.NAME
    assert isinstance(rule.SEVERITY, Severity)
    assert rule.THRESHOLDS
    for threshold in rule.THRESHOLDS:
        assert threshold.name
        assert threshold.unit
        assert len(threshold.source.split()) >= 4, threshold.name
    assert set(rule.AFTER) <= set(CODES)


@every_rule
def test_a_page_has_every_part_in_order(name: str) -> None:
    text = catalogue.page(name)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == [*catalogue.SECTIONS[:3], "Example", "Thresholds", *catalogue.SECTIONS[3:]]
    assert text.startswith(f"# {CODES[name]} {name}\n")
    for threshold in RULES[name].THRESHOLDS:
        assert f"| {threshold.name} | {number(threshold.value)} |" in text


@every_rule
def test_what_to_do_is_told_by_the_remedies_alone(name: str) -> None:
    """Each with what it does and when it helps, from its own file; what a rule adds stands below them."""
    part = catalogue.page(name).partition("## What to do\n\n")[2].partition("## References")[0]
    bullets = [" ".join(b.split()) for b in re.split(r"^- ", part, flags=re.MULTILINE)[1:]]
    known = of_rule(name)
    for bullet, (key, remedy) in zip(bullets, known, strict=False):
        assert bullet.startswith(f"**{key}**: {summary(remedy)}. ")
        assert len(reason(remedy).split()) >= 8, key
        assert bullet.endswith(reason(remedy))
        assert "Source" not in bullet
    added = inspect.cleandoc(RULES[name].__doc__ or "").partition("## What to do\n")[2].partition("## References")[0]
    assert len(bullets) - len(known) == added.count("\n- ")


def test_every_number_of_a_rule_is_a_threshold_of_its_page() -> None:
    """A number that a verdict compares with stands in a ``Threshold``, and each of these is listed."""
    for name in CODES:
        rule = RULES[name]
        made = {value.name for value in vars(rule).values() if isinstance(value, type(rule.THRESHOLDS[0]))}
        assert made <= {t.name for t in rule.THRESHOLDS}, name


@every_rule
def test_the_example_of_a_page_promises_the_finding(name: str) -> None:
    """What a config promises is held by tests/test_configs.py."""
    rule = RULES[name]
    assert f"{rule.CODE} {name}" in promised(ROOT / "configs" / f"{rule.EXAMPLE}.yaml")


def test_a_rule_is_found_by_name_and_by_code_and_a_typo_is_answered() -> None:
    assert catalogue.page("GS101") == catalogue.page("vanishing-gradients")
    with pytest.raises(UsageError, match="did you mean"):
        catalogue.page("vanishing-gradient")


def test_the_list_is_by_code_and_tells_each_rule_in_a_line() -> None:
    rows = catalogue.rows()
    assert [row.code for row in rows] == sorted(CODES.values())
    assert all(row.summary.endswith(".") and len(row.summary) < 128 for row in rows)


def test_the_pages_under_docs_are_those_of_the_rules() -> None:
    """Run ``python -m scripts.rule_pages docs/rules`` where this fails."""
    folder = ROOT / "docs" / "rules"
    assert {path.name: path.read_text("utf-8") for path in folder.glob("*.md")} == pages()


def test_rules_are_judged_after_those_that_they_read() -> None:
    order = list(ordered())
    assert sorted(order) == sorted(CODES)
    for i, name in enumerate(order):
        assert not set(RULES[name].AFTER) & set(order[i:]), name
