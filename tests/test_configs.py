"""Every shipped config gives the verdict that its first comment promises."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradscope.detect.engine import Settings, check
from gradscope.record.finding import Report, Verdict
from gradscope.record.run import Run
from gradscope.training.config import load_config
from gradscope.training.loop import train

FOLDER = Path(__file__).parents[1] / "configs"
UNPROMISED = "# No verdict is promised: "
"""How the first comment of a config begins that needs what is not at hand; another test takes a step of it."""
FILES = sorted(path for path in FOLDER.glob("*.yaml") if UNPROMISED not in path.read_text())
CURED = re.compile(r"^# Cured by ([\w.]+=(?:\{.*?\}|\S+?))(?:[.:]\s|\.?$)", re.MULTILINE)
PROMISE = re.compile(r"# Verdict: (?P<verdict>healthy|pathological)(?:: (?P<code>GS\d{3}) (?P<rule>[a-z-]+))?")


@dataclass(frozen=True)
class Promise:
    verdict: Verdict
    code: str | None
    rule: str | None


def promise(path: Path) -> Promise:
    modeline, first = path.read_text().splitlines()[:2]
    assert modeline == "# yaml-language-server: $schema=config.schema.json"
    found = PROMISE.fullmatch(first)
    assert found is not None, first
    return Promise(Verdict(found["verdict"]), found["code"], found["rule"])


def test_every_pathology_has_its_config_and_there_are_healthy_ones() -> None:
    promised = {path.stem: promise(path) for path in FILES}
    assert {"plain-sigmoid-20", "plain-relu-20", "residual-sigmoid-20", "large-init", "small-init", "smoke"} <= set(promised)
    assert {p.code for p in promised.values()} >= {"GS101", "GS102", None}


def promised(path: Path) -> frozenset[str]:
    """Every finding that the comments of a config speak of: ``GS305 clipping-always-on``."""
    comments = " ".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
    return frozenset(re.findall(r"GS\d{3} [a-z-]*[a-z]", comments))


def judged(path: Path, *overrides: str) -> tuple[Run, Report]:
    config = load_config(path, ["device=cpu", *overrides])
    run = train(config)
    return run, check(run, Settings(ignore=config.detect.ignore))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_gives_the_verdict_of_its_first_comment_and_the_findings_of_the_others(path: Path) -> None:
    expected = promise(path)
    run, report = judged(path)
    assert report.verdict is expected.verdict, report.findings
    assert promised(path) <= {f"{f.code} {f.rule}" for f in report.findings}
    if expected.code:
        assert report.findings[0].code == expected.code, report.findings
    else:
        last = run.grid("steps", "validation_accuracy").values[-1, 0]
        assert last > 0.9


CURES = {path: found[1] for path in FILES if (found := CURED.search(path.read_text()))}


@pytest.mark.parametrize("path", CURES, ids=lambda path: path.stem)
def test_a_sick_config_is_healthy_with_the_change_that_its_comment_names(path: Path) -> None:
    _, report = judged(path, CURES[path])
    assert report.verdict is Verdict.HEALTHY, report.findings
    assert promise(path).code not in {f.code for f in report.findings}


def test_every_sick_config_names_its_healthy_twin() -> None:
    names = {path.name for path in FILES if promise(path).verdict is Verdict.HEALTHY}
    for path in FILES:
        if promise(path).verdict is Verdict.PATHOLOGICAL:
            assert path in CURES or any(name in path.read_text() for name in names), path.name


def test_the_smoke_config_is_quick() -> None:
    begun = time.perf_counter()
    train(load_config(FOLDER / "smoke.yaml", ["device=cpu"]))
    assert time.perf_counter() - begun < 15
