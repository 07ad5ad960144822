"""Sick configs are cured for real: the remedy's config is trained to the end, judged healthy, and learned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gradscope.detect.engine import check
from gradscope.detect.remedy import Proposal
from gradscope.errors import ConfigError
from gradscope.record.finding import Finding, Severity, Verdict
from gradscope.remedy.candidate import Outlook, candidates, given_as, ranked
from gradscope.remedy.cure import Fix, fix
from gradscope.remedy.trial import Trial, attempt
from gradscope.strict.document import Document
from gradscope.strict.yaml12 import overridden, parse, read
from gradscope.training.config import config_from, load_config
from tests.remedy.sick import MODELS, text
from tests.test_configs import FILES, promise

SLOW = {"large-init", "non-finite", "plain-sigmoid-20", "small-init", "clipping-always-on", "loss-instability", "slow-learning",
        "sigmoid-10", "sigmoid-40", "batch-norm-60", "relu-30-xavier", "tanh-30-gain-too-small", "relu-15-gain-too-large",
        "relu-15-init-too-small", "tanh-20-gain-too-large", "gelu-20-lecun"}  # fmt: skip
"""What takes seconds each on its own; together they are a minute and more."""
SHIPPED = {
    path.stem: path
    for path in FILES
    if (promise(path).verdict is Verdict.PATHOLOGICAL or path.stem == "clipping-always-on")
    and not re.search(r"configs\.faults|name: import", path.read_text())  # what is wrong there no key of a config can mend
}
CASES = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in (*SHIPPED, *MODELS)]


def document(source: str) -> Document:
    return parse(source, "sick.yaml")


def cured(found: Document, target: Path, overrides: tuple[str, ...] = (), **more: Any) -> Fix:
    given = given_as(found, overrides, target)
    return fix(given, attempt(config_from(overridden(found, overrides))), **more)


@pytest.mark.parametrize("name", CASES)
def test_a_sick_config_is_cured_and_the_file_is_what_was_trained(name: str, tmp_path: Path) -> None:
    found = read(SHIPPED[name]) if name in SHIPPED else document(text(name))
    target = tmp_path / f"{name}.fixed.yaml"
    made = cured(found, target, ("device=cpu",))
    best = made.cure
    assert best is not None, [(t.candidate.name, t.shortcoming) for t in made.tried]
    assert best.trial is not None
    report = check(best.trial.run)
    assert report.verdict is Verdict.HEALTHY
    assert not {f.code for f in made.sick.open} & {f.code for f in report.findings}
    assert len(best.trial.run.grid("steps", "loss").steps) == best.candidate.config.training.steps
    accuracy, chance = best.trial.accuracy, best.trial.chance
    assert chance is not None
    if accuracy is not None and chance.accuracy is not None:
        assert accuracy > max(0.5, chance.accuracy, (made.sick.accuracy or 0.0) - 0.03)
    else:
        assert best.trial.validation_loss is not None
        assert best.trial.validation_loss < chance.loss
    target.write_text(best.candidate.text, "utf-8")
    assert load_config(target) == best.trial.config
    kept = [line for line in found.text.splitlines() if line.startswith("#")]
    assert [line for line in best.candidate.text.splitlines() if line in kept] == kept
    assert best.candidate.text.count("# was: ") >= 1


@pytest.fixture(scope="module")
def sigmoid() -> Fix:
    """Everything that is tried of a short training of ten sigmoid layers."""
    source = text("sigmoid-10").replace("steps: 100", "steps: 60")
    return cured(document(source), Path("sigmoid.fixed.yaml"), everything=True)


def test_a_remedy_that_theory_expects_nothing_of_is_tried_last_and_says_why(sigmoid: Fix) -> None:
    names = [t.candidate.name for t in sigmoid.tried]
    assert names[0] == "activation"
    assert names.index("critical-init") > names.index("residual-path")
    rescaled = sigmoid.tried[names.index("critical-init")]
    assert "10.15" in str(rescaled.candidate.hopeless)
    assert not rescaled.cures


def test_what_failed_says_why_and_was_given_up_early(sigmoid: Fix) -> None:
    failed = [t for t in sigmoid.tried if not t.cures]
    assert failed
    assert all(t.shortcoming for t in failed)
    early = [t.trial for t in failed if t.trial is not None and t.trial.stopped]
    assert early
    assert all(trial.report.steps < 60 for trial in early)


def test_the_cure_is_the_one_that_changes_least(sigmoid: Fix) -> None:
    assert sigmoid.cure is not None
    assert sigmoid.cure.candidate.cost == min(t.candidate.cost for t in sigmoid.tried if t.cures)


def test_the_outlook_is_that_of_theory_and_of_one_batch(sigmoid: Fix) -> None:
    """A sigmoid layer at unit gain passes back sqrt(0.0553) of the gradient, a ReLU at sqrt 2 all of it (docs of theory)."""
    assert sigmoid.outlook is not None
    assert sigmoid.outlook.predicted == pytest.approx(0.0553**0.5, rel=0.05)
    assert sigmoid.outlook.gain == pytest.approx(0.0553**0.5, rel=0.1)
    assert sigmoid.outlook.codes == ("GS101",)
    relu = sigmoid.tried[0]
    assert relu.outlook is not None
    assert relu.outlook.predicted == pytest.approx(1.0, abs=0.02)
    assert relu.outlook.codes == ()


def test_the_short_training_is_the_beginning_of_the_full_one(sigmoid: Fix) -> None:
    alone = attempt(sigmoid.tried[0].candidate.config)
    mine = sigmoid.tried[0].trial
    assert mine is not None
    assert mine.run.grid("steps", "loss") == alone.run.grid("steps", "loss")


def test_two_remedies_are_combined_where_one_does_not_cure() -> None:
    """Weights eight times too large and a learning rate that is too low: each alone leaves the other."""
    source = text("tanh-10-lr-too-low").replace("activation: tanh", "activation: tanh, init: {scheme: lecun_normal, gain: 8.0}")
    made = cured(document(source.replace("depth: 10", "depth: 5")), Path("both.fixed.yaml"))
    assert made.cure is not None, [(t.candidate.name, t.shortcoming) for t in made.tried]
    assert len(made.cure.candidate.applied) == 2
    assert any(len(t.candidate.applied) == 1 and not t.cures for t in made.tried)


def test_what_the_command_line_sets_stands_in_the_file_and_is_marked(tmp_path: Path) -> None:
    given = given_as(
        document(text("relu-10-lr-too-high")), ["optimizer.lr=5", "training.steps=100", "seed=3"], tmp_path / "x.yaml"
    )
    assert "optimizer: {lr: 5}  # was: optimizer.lr: 3; set on the command line" in given.text
    assert "seed: 3  # was: 0 (by default); set on the command line" in given.text
    assert given.text.count("# was: ") == 2  # the number of steps is the file's already
    assert given.config.name == "x"


def test_a_text_that_cannot_be_kept_is_written_anew(tmp_path: Path) -> None:
    """Two sections are one by an alias: only one of them is to change."""
    shared = "# kept\nmodel: {depth: 3, width: 8}\ndata: {name: digits}\noptimizer: &s {name: sgd, lr: 0.1}\n"
    sick = given_as(parse(shared, "a.yaml"), [], tmp_path / "a.yaml")
    changed = sick.with_remedy(Proposal("learning-rate-down", {"optimizer.lr": 0.01}, "less"), [])
    assert changed.text.startswith("# kept\n")  # an anchor that nobody names again does no harm
    assert changed.config.optimizer.lr == 0.01
    twice = "seed: &n 3\nmodel: {depth: *n, width: 8}\ndata: {name: digits}\n"
    given = given_as(parse(twice, "b.yaml"), ["seed=4"], tmp_path / "b.yaml")
    assert (given.config.seed, getattr(given.config.model, "depth", None)) == (4, 3)
    assert given.text.startswith("# The values of b.yaml, changed; its text could not be kept")


def test_what_an_architecture_has_no_key_for_is_no_candidate() -> None:
    """A recurrent network has no depth, residual path or norm; a remedy that needs them is left out, and none fails."""
    source = (
        "device: cpu\nmodel: {kind: rnn, cell: tanh, width: 16, recurrence: {scheme: gaussian, spectral_radius: 0.5}}\n"
        "data: {name: recall, points: 200, length: 12, batch_size: 32}\ntraining: {steps: 4, validate_every: null}\n"
    )
    found = document(source)
    trial = attempt(config_from(found))
    forgets = Finding("GS101", "vanishing-gradients", Severity.ERROR, "m", "time_ratio", 1e-6, 1e-2, timesteps=(0, 5))
    given = given_as(found, [], Path("r.yaml"))
    names = [c.name for c in candidates(given, trial.case, [forgets])]
    assert names == ["orthogonal-recurrence", "gating", "gating"]
    orders = ranked(candidates(given, trial.case, [forgets]), None)
    assert orders[0][0].name == "orthogonal-recurrence"


def test_a_healthy_training_is_left_alone() -> None:
    source = text("relu-10-lr-too-low").replace("1e-6", "0.02").replace("depth: 10", "depth: 4")
    made = cured(document(source), Path("h.yaml"))
    assert made.healthy
    assert made.cure is None
    assert not made.tried


def test_a_config_that_is_none_is_refused_with_its_problems() -> None:
    with pytest.raises(ConfigError, match=r"model\.depht"):
        given_as(document("model: {depht: 3}\ndata: {name: digits}\n"), [], Path("x.yaml"))


def test_what_eases_is_kept_where_nothing_cures() -> None:
    """Learned more than chance and than the sick run, but not half of it: told as the best that was found."""
    sick = attempt(config_from(document(text("relu-10-lr-too-high"))))
    mild = attempt(config_from(document(text("relu-10-lr-too-low").replace("1e-6", "0.001"))))
    assert mild.report.worst in (None, Severity.INFO)
    assert not mild.achieved
    assert mild.eases(sick)
    assert str(mild.shortcoming(sick)).startswith("healthy, but")
    assert not sick.eases(mild)


def test_a_trial_says_what_it_learned() -> None:
    trial: Trial = attempt(config_from(document(text("relu-10-lr-too-high").replace("3.0", "0.02"))))
    assert trial.chance is not None
    assert trial.chance.rows == 359
    assert 0.09 < trial.chance.accuracy < 0.13
    assert trial.accuracy == trial.run.grid("steps", "validation_accuracy").values[-1, 0]


def test_the_outlook_of_a_network_without_theory_is_measured_alone() -> None:
    source = "device: cpu\nmodel: {kind: cnn, depth: 5, width: 4, norm: batch}\ndata: {name: digits}\n"
    outlook: Outlook = given_as(document(source), [], Path("c.yaml")).outlook()
    assert outlook.predicted is None
    assert outlook.gain is not None
