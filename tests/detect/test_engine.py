"""What the engine adds to what the rules say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradscope.detect.engine import Settings, check
from gradscope.errors import UsageError
from gradscope.record.finding import Report, Verdict
from gradscope.render import FORMATS
from gradscope.training.config import load_config
from gradscope.training.loop import train

CONFIGS = Path(__file__).parents[2] / "configs"


def judged(name: str, *overrides: str) -> Report:
    return check(train(load_config(CONFIGS / f"{name}.yaml", ["device=cpu", *overrides])))


def test_a_path_in_the_place_of_a_run_is_told() -> None:
    with pytest.raises(UsageError, match="a Run is judged") as error:
        check("runs/a")  # type: ignore[arg-type]
    assert error.value.hint == "gradscope.load_run(FOLDER) gives one"


def test_a_healthy_verdict_on_a_training_that_has_not_learned_says_so() -> None:
    """Four sigmoid layers at a small rate: the gradient falls too little to be called vanishing, and nothing is learned yet."""
    report = judged("plain-sigmoid-20", "model.depth=4", "training.steps=48")
    assert report.verdict is Verdict.HEALTHY
    assert report.remark is not None
    assert report.remark.startswith("After 48 steps 100% of the output's variance is still unexplained")
    assert "After 48 steps 100%" in FORMATS["text"].write(report)


def test_where_what_was_found_is_ignored_nothing_more_is_to_be_waited_for() -> None:
    run = train(load_config(CONFIGS / "plain-sigmoid-20.yaml", ["device=cpu", "training.steps=48"]))
    report = check(run, Settings(ignore=tuple({f.code for f in check(run).findings})))
    assert report.verdict is Verdict.HEALTHY
    assert report.remark is None


@pytest.mark.parametrize("name", ["smoke", "plain-sigmoid-20"])
def test_a_training_that_learned_or_has_a_finding_needs_no_remark(name: str) -> None:
    assert judged(name).remark is None
