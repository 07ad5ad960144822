import json
import re
from pathlib import Path

import pytest

from gradscope.record.finding import Report, Severity, Verdict
from gradscope.render import FORMATS
from gradscope.render.terminal import Terminal
from tests.render.cases import case

write = FORMATS["json"].write


def test_the_json_has_the_keys_of_the_contract_in_their_order():
    run, report = case("vanishing")
    found = json.loads(write(report, run))
    assert list(found) == ["schema_version", "run", "verdict", "steps", "remark", "known", "not_asked", "findings"]
    assert (found["schema_version"], found["run"], found["verdict"], found["steps"]) == (
        1,
        "plain-sigmoid-20",
        "pathological",
        200,
    )
    (finding,) = found["findings"]
    assert list(finding) == [
        "code", "rule", "severity", "confidence", "layers", "steps", "timesteps", "signal", "value", "state", "threshold",
        "noise_floor", "message", "cause", "cause_code", "remedies",
    ]  # fmt: skip
    assert (finding["steps"], finding["timesteps"], finding["threshold"]) == ([0, 199], None, 1e-3)


def test_the_tutorial_names_every_key():
    _, report = case("vanishing")
    page = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")
    told = set(re.findall(r"`(\w+)`", page.partition("### The verdict in JSON")[2].partition("## What next")[0]))
    found = report.to_dict()
    assert told >= {*found, *found["findings"][0], *Severity, *Verdict}


def test_no_nan_and_no_infinity_stands_in_json():
    _, report = case("exploding")
    text = write(report)
    found = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert [(f["value"], f["state"]) for f in found["findings"]][1] == (None, "inf")


def test_json_is_the_same_on_every_terminal():
    _, report = case("exploding")
    assert write(report, terminal=Terminal(40, colour=True, unicode=False)) == write(report)


def test_a_healthy_run_has_no_findings():
    assert json.loads(write(Report("r", 3)))["findings"] == []
    assert json.loads(write(Report("r", 0)))["verdict"] == "inconclusive"
