"""What the engine adds to what the rules say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradscope.detect.case import Case
from gradscope.detect.engine import Settings, check
from gradscope.errors import UsageError
from gradscope.record import thinned
from gradscope.record.finding import Report, Verdict
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink
from gradscope.render import FORMATS
from gradscope.training.config import load_config
from gradscope.training.loop import train
from tests import synthetic
from tests.detect.made import HEALTHY

GRADIENTS = ("grad_norm", "backward_norm")
CONFIGS = Path(__file__).parents[2] / "configs"


def judged(name: str, *overrides: str) -> Report:
    return check(train(load_config(CONFIGS / f"{name}.yaml", ["device=cpu", *overrides])))


def unseen(run: Run, but: tuple[str, int] | None = None) -> Run:
    """The same run without a gradient of any layer or parameter, or with those of one table at one step alone."""
    sink = MemorySink(run.manifest)
    for table in ("layers", "parameters", "steps"):
        for block in run._tables[table].blocks:  # type: ignore[attr-defined]
            kept = np.array([(table, step) == but for step in block.steps])
            gone = {c: np.broadcast_to(kept[:, None], v.shape) for c, v in block.columns.items() if c in GRADIENTS}
            sink.append(replace(block, valid={**block.valid, **gone}))
    return sink.run()


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


def test_a_run_of_which_no_gradient_was_recorded_is_not_called_healthy() -> None:
    report = check(synthetic.absent())
    assert (report.verdict, report.findings, report.gradients) == (Verdict.INCONCLUSIVE, (), False)
    assert report.remark is not None
    assert report.remark.startswith("No gradient was recorded: another model is trained")
    assert FORMATS["text"].write(report).startswith("? inconclusive: no gradient was recorded")


def test_without_gradients_a_loss_that_broke_is_still_found() -> None:
    loss = np.where(np.arange(HEALTHY.steps) < 30, 1.0, np.inf)
    broken = check(unseen(HEALTHY.having(loss=loss).run))
    assert (broken.verdict, broken.remark, {f.code for f in broken.findings}) == (Verdict.PATHOLOGICAL, None, {"GS103"})


@pytest.mark.parametrize("table", ["parameters", "layers"])
def test_one_gradient_at_one_step_is_a_record_also_where_a_long_one_is_judged_at_fewer(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinned, "MOST_VALUES", 100)
    monkeypatch.setattr(thinned, "FEWEST_STEPS", 4)
    run = unseen(HEALTHY.run, but=(table, 37))
    assert Case(run).run.grid(table, "grad_norm" if table == "parameters" else "backward_norm").empty
    assert check(run).gradients
    assert not check(unseen(HEALTHY.run)).gradients


@pytest.mark.parametrize("name", ["smoke", "plain-sigmoid-20"])
def test_a_training_that_learned_or_has_a_finding_needs_no_remark(name: str) -> None:
    assert judged(name).remark is None
