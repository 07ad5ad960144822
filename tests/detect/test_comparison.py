from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from gradscope.detect.comparison import changes, compare
from gradscope.detect.differences import differences
from gradscope.record.comparison import MISSING, Kind
from gradscope.record.finding import Finding, Report, Severity
from gradscope.record.manifest import Manifest, ParameterInfo, flattened
from tests import synthetic
from tests.render.cases import case

SICK = Finding("GS101", "vanishing-gradients", Severity.ERROR, "m", "backward_ratio", 1e-6, 1e-2, layers=("a", "b"))


def kinds(before: tuple[Finding, ...], after: tuple[Finding, ...], *, alike: bool = True) -> dict[str, Kind]:
    found = changes(Report("a", 9, before), Report("b", 9, after), alike=alike)
    return {f"{c.finding.code} {','.join(c.finding.layers)}": c.kind for c in found}


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ({}, Kind.SAME),
        ({"value": 1.1e-7}, Kind.SAME),
        ({"value": 1e-7}, Kind.WORSE),
        ({"value": 0.0}, Kind.WORSE),
        ({"value": math.inf}, Kind.WORSE),
        ({"value": 1e-4}, Kind.BETTER),
        ({"layers": ("a",)}, Kind.BETTER),
        ({"layers": ("a", "b", "c")}, Kind.WORSE),
        ({"layers": ("b", "c")}, Kind.WORSE),
        ({"severity": Severity.WARNING, "value": 0.0, "layers": ("a", "b", "c")}, Kind.BETTER),
    ],
)
def test_what_became_of_a_finding_follows_severity_then_layers_then_distance(after: dict[str, object], kind: Kind) -> None:
    assert list(kinds((SICK,), (replace(SICK, **after),)).values()) == [kind]
    back = {Kind.WORSE: Kind.BETTER, Kind.BETTER: Kind.WORSE}.get(kind, kind)
    if after.get("layers") != ("b", "c"):  # one layer fell ill, another recovered: worse, whichever run is the first
        assert list(kinds((replace(SICK, **after),), (SICK,)).values()) == [back]


def test_what_is_new_and_what_is_gone_is_told_by_rule() -> None:
    other = replace(SICK, code="GS201")
    assert kinds((SICK,), (other,)) == {"GS201 a,b": Kind.NEW, "GS101 a,b": Kind.GONE}


def test_findings_of_one_rule_are_paired_by_the_layers_they_share() -> None:
    first, second = replace(SICK, layers=("a",)), replace(SICK, layers=("z",))
    assert kinds((first, second), (second,)) == {"GS101 z": Kind.SAME, "GS101 a": Kind.GONE}


def test_layers_of_another_network_are_not_compared_by_name() -> None:
    moved = replace(SICK, layers=("x", "y", "z"))
    assert kinds((SICK,), (moved,), alike=False) == {"GS101 x,y,z": Kind.SAME}


def test_the_outcome_is_read_from_the_record() -> None:
    (sick, bad), (well, good) = case("vanishing"), case("shallow")
    found = compare([sick, well], [bad, good], ["sick", "well"])
    norms = sick.grid("layers", "backward_norm")
    trunk = [layer.name for layer in sick.catalogue.layers if layer.trunk]
    last = {name: value for (name, _), value in zip(norms.entities, norms.values[-1], strict=True)}
    assert found.outcomes[0].end_to_end is not None
    assert found.outcomes[0].end_to_end.value == pytest.approx(last[trunk[0]] / last[trunk[-2]], rel=1e-12)
    assert found.outcomes[0].end_to_end.step == 199
    for outcome, run in zip(found.outcomes, (sick, well), strict=True):
        losses = run.grid("steps", "loss").values[:, 0]
        assert outcome.loss is not None
        assert outcome.loss.value == statistics.median(losses[-(len(losses) // 5) :])
        assert outcome.loss.step == len(losses) - 1
    assert found.outcomes[1].parameters == sum(math.prod(p.shape) for p in well.catalogue.parameters)
    assert found.outcomes[0].accuracy is None
    assert [c.kind for c in found.changes[0]] == [Kind.GONE]
    assert not found.worsened
    assert compare([well, sick], [good, bad], ["well", "sick"]).worsened == bad.findings


def test_a_run_that_broke_is_compared_by_the_last_step_that_was_finite() -> None:
    (run, report) = case("exploding")
    (outcome, _) = compare([run, run], [report, report], ["a", "b"]).outcomes
    assert outcome.end_to_end is not None
    assert outcome.end_to_end.step == 119
    assert math.isnan(outcome.loss.value if outcome.loss else 0.0)


def test_the_json_holds_no_number_that_is_none() -> None:
    (run, report), (well, good) = case("exploding"), case("shallow")
    text = json.dumps(compare([well, run], [good, report], ["a", "b"]).to_dict(), allow_nan=False)
    assert json.loads(text)["runs"][1]["loss"] == {"value": None, "state": "nan", "step": 199}


def test_a_run_that_recorded_nothing_can_be_compared() -> None:
    run = synthetic.empty()
    (outcome, _) = compare([run, run], [Report("e", 0)] * 2, ["a", "b"]).outcomes
    assert (outcome.end_to_end, outcome.loss, outcome.report.verdict.value) == (None, None, "inconclusive")


def test_a_config_is_flattened_to_the_paths_of_its_keys() -> None:
    nested = {"seed": 0, "model": {"kind": "mlp", "init": {"gain": "auto"}}, "axes": [1, 2], "empty": {}}
    assert flattened(nested) == {"seed": 0, "model.kind": "mlp", "model.init.gain": "auto", "axes": [1, 2], "empty": {}}


def test_differences_are_keys_whose_values_differ_null_and_missing_apart() -> None:
    a = Manifest("a", config={"name": "a", "seed": 0, "lr": 1, "clip": None}, environment={"torch": "2.6"})
    b = Manifest("b", config={"name": "b", "seed": 0, "lr": 1.0, "norm": None}, environment={"torch": "2.7"})
    found = {f"{d.section} {d.path}": d.values for d in differences([a, b])}
    assert found == {
        "config lr": (1, 1.0),
        "config clip": (None, MISSING),
        "config norm": (MISSING, None),
        "environment torch": ("2.6", "2.7"),
    }
    (missing,) = (d for d in differences([a, b]) if d.path == "norm")
    assert missing.to_dict() == {"section": "config", "path": "norm", "values": [None, None], "missing": [0]}


def test_what_recording_took_is_measured_and_no_difference() -> None:
    a, b = ({"cadence": f"every {n} steps", "took": f"{n} s"} for n in (1, 2))
    assert [d.path for d in differences([Manifest("a", recording=a), Manifest("b", recording=b)])] == ["cadence"]


def test_without_a_config_the_networks_are_compared_as_they_were_seen() -> None:
    a, b = synthetic.stations(3), synthetic.stations(3, width=32, activation="one-sided")
    found = {d.path: d.values for d in differences([Manifest("a", catalogue=a), Manifest("b", catalogue=b, config={"x": 1})])}
    assert found["modules.Sigmoid"] == (2, MISSING)
    assert found["modules.ReLU"] == (MISSING, 2)
    assert found["shape.layers.0.weight"] == ([64, 64], [32, 32])
    assert "layers" not in found
    assert "x" not in found
    frozen = replace(a, parameters=(ParameterInfo("layers.0.weight", "layers.0", (64, 64), trainable=False),))
    assert ("frozen.layers.0.weight", (MISSING, True)) in {
        (d.path, d.values)
        for d in differences([Manifest("a", catalogue=a), Manifest("b", catalogue=frozen)])
        if "frozen" in d.path
    }


def test_the_optimizers_of_watched_runs_are_compared() -> None:
    sgd, adam = {"name": "SGD", "lr": 0.1}, {"name": "Adam", "lr": 0.1, "eps": 1e-8}
    found = differences([Manifest("a", optimizer=sgd), Manifest("b", optimizer=adam)])
    assert {(d.section, d.path): d.values for d in found} == {
        ("network", "optimizer.name"): ("SGD", "Adam"),
        ("network", "optimizer.eps"): (MISSING, 1e-8),
    }
    assert not differences([Manifest("a", optimizer=sgd), Manifest("b", optimizer=sgd)])


def test_a_network_of_another_depth_differs_in_its_layers() -> None:
    found = {d.path: d.values for d in differences([Manifest("a", catalogue=synthetic.stations(n)) for n in (3, 5)])}
    assert found["layers"] == (3, 5)
    assert found["modules.Linear"] == (3, 5)
    assert np.prod(found["shape.layers.4.weight"][0]) == 640
