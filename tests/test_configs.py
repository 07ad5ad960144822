"""Every shipped config gives the verdict that its first comment promises."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradscope.detect.engine import Settings, check
from gradscope.record.finding import Verdict
from gradscope.training.config import load_config
from gradscope.training.loop import train

FOLDER = Path(__file__).parents[1] / "configs"
UNPROMISED = "# No verdict is promised: "
"""How the first comment of a config begins that needs what is not at hand; another test takes a step of it."""
FILES = sorted(path for path in FOLDER.glob("*.yaml") if UNPROMISED not in path.read_text())
PROMISE = re.compile(r"# Verdict: (?P<verdict>healthy|pathological)(?:: (?P<code>GS\d{3}) (?P<rule>[a-z-]+))?")


@dataclass(frozen=True)
class Promise:
    verdict: Verdict
    code: str | None
    rule: str | None


def promise(path: Path) -> Promise:
    modeline, first = path.read_text().splitlines()[:2]
    assert modeline == "# yaml-language-server: $schema=../docs/config.schema.json"
    found = PROMISE.fullmatch(first)
    assert found is not None, first
    return Promise(Verdict(found["verdict"]), found["code"], found["rule"])


def test_every_pathology_has_its_config_and_there_are_healthy_ones() -> None:
    promised = {path.stem: promise(path) for path in FILES}
    assert {"plain-sigmoid-20", "plain-relu-20", "residual-sigmoid-20", "large-init", "small-init", "smoke"} <= set(promised)
    assert {p.code for p in promised.values()} >= {"GS101", "GS102", None}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_gives_the_verdict_of_its_first_comment(path: Path) -> None:
    expected = promise(path)
    config = load_config(path, ["device=cpu"])
    run = train(config)
    report = check(run, Settings(ignore=config.detect.ignore))
    assert report.verdict is expected.verdict, report.findings
    codes = {f.code: f for f in report.findings}
    if expected.code:
        assert codes[expected.code].rule == expected.rule
        assert report.findings[0].code == expected.code, list(codes)
    else:
        last = run.grid("steps", "validation_accuracy").values[-1, 0]
        assert last > 0.9


def test_the_smoke_config_is_quick() -> None:
    begun = time.perf_counter()
    train(load_config(FOLDER / "smoke.yaml", ["device=cpu"]))
    assert time.perf_counter() - begun < 15
