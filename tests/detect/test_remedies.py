"""Every remedy says what it does, in words, in keys of a config and in PyTorch, and proposes with theory's number."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradscope.detect.case import Case
from gradscope.detect.engine import RULES, check, judged
from gradscope.detect.remedy import REMEDIES, Proposal, advice, proposals, rounded, shown, summary
from gradscope.record.finding import Finding, Severity
from gradscope.record.run import Run
from gradscope.scope import watch
from gradscope.signals.events import series
from gradscope.training.config import Config, load_config
from gradscope.training.loop import train
from tests.training.configs import config

ROOT = Path(__file__).parents[2]
every_remedy = pytest.mark.parametrize("name", list(REMEDIES.built_in))


def trained(**sections: Any) -> tuple[Config, Run]:
    made = config(**{"training": {"steps": 2, "validate_every": None}, **sections})
    return made, train(made)


def finding(rule: str, **more: Any) -> Finding:
    return Finding("GS000", rule, Severity.ERROR, "m", "s", 1.0, 2.0, **more)


def proposed(name: str, run: Run) -> list[Proposal]:
    return list(REMEDIES[name].propose(Case(run)))


@every_remedy
def test_a_remedy_is_complete(name: str) -> None:
    remedy = REMEDIES[name]
    first, _, rest = inspect.cleandoc(remedy.__doc__).partition("\n")
    assert first.endswith(".")
    assert len(first) <= 100
    assert "\n\n" in rest or len(rest.split()) > 10
    assert remedy.COST in range(6)
    assert {answer.removesuffix("/time") for answer in remedy.ANSWERS} <= set(RULES)
    ast.parse(textwrap.dedent(remedy.TORCH).strip())
    assert all(len(line) <= 62 for line in remedy.TORCH.splitlines())


@pytest.mark.parametrize("rule", list(RULES.built_in))
def test_every_rule_has_a_remedy(rule: str) -> None:
    assert any(rule in REMEDIES[name].ANSWERS for name in REMEDIES)


SICK: Mapping[str, dict[str, Any]] = {
    "plain": {"model": {"depth": 12, "activation": "sigmoid", "init": {"bias": -3.0, "gain": 0.3}}},
    "lsuv": {"model": {"activation": "tanh", "init": {"scheme": "lsuv", "fan": "out"}}},
    "clipped": {"training": {"steps": 2, "validate_every": None, "clip_norm": 1e-3}},
    "values": {"training": {"steps": 40, "validate_every": None, "clip_value": 1.0}, "optimizer": {"lr": 3.0}},
    "slow": {"optimizer": {"name": "adam", "lr": 1e-7}},
    "half": {"training": {"steps": 2, "validate_every": None, "precision": "bfloat16"}},
    "batch": {"model": {"depth": 60, "norm": "batch"}},
    "residual": {"model": {"depth": 12, "residual": True}},
    "recurrent": {
        "model": {"kind": "rnn", "depth": None, "recurrence": {"scheme": "gaussian", "spectral_radius": 0.5}},
        "data": {"name": "recall", "points": 100, "length": 6},
    },
    "lstm": {"model": {"kind": "rnn", "depth": None, "cell": "lstm"}, "data": {"name": "recall", "points": 100, "length": 6}},
}  # fmt: skip


def made(sections: dict[str, Any]) -> tuple[Config, Run]:
    base = config(**sections).model_dump(mode="json") if sections.get("model", {}).get("kind") != "rnn" else None
    if base is None:
        model = {k: v for k, v in sections["model"].items() if v is not None} | {"width": 16}
        options = {"name": "small", "device": "cpu", "model": model, "data": {**sections["data"], "batch_size": 16}}
        made = Config.model_validate({**options, "training": {"steps": 2, "validate_every": None}})
    else:
        made = Config.model_validate({**base, "training": {**base["training"], **sections.get("training", {"steps": 2})}})
    return made, train(made)


@pytest.mark.parametrize("sickness", SICK)
def test_what_is_proposed_is_a_config_and_another_one(sickness: str) -> None:
    """Of every remedy, for many kinds of config: each proposal makes a valid config that differs from the one it is for."""
    given, run = made(SICK[sickness])
    found = [p for name in REMEDIES for p in proposed(name, run)]
    assert found
    for p in found:
        if p.changes.get("model.kind"):
            continue  # another kind of network has other keys; the file's own ones decide
        data: Any = given.model_dump(mode="json")
        for key, value in p.changes.items():
            *sections, last = key.split(".")
            section = data
            for part in sections:
                section = section[part]
            assert section[last] != value, p
            section[last] = value
        Config.model_validate(data)
        assert p.expects


def test_a_gain_that_drives_a_sigmoid_to_its_ends_is_no_cure_and_says_so() -> None:
    _, run = made(SICK["plain"])
    first = proposed("critical-init", run)[0]
    assert "critical gain of sigmoid is 10.15" in str(first.hopeless)
    assert not proposed("orthogonal-weights", run)
    ranked = proposals(Case(run), finding("vanishing-gradients"))
    assert ranked[0].changes["model.activation"] == "relu"
    assert [p.hopeless is None for p in ranked] == sorted((p.hopeless is None for p in ranked), reverse=True)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"init": {"layers": {"layers.1": {"gain": 9.0}}}}, {"model.init.layers": {}}),
        ({"init": {"layers": {"layers.1": {"bias": 1.0}}}}, {}),
        ({"activation": "relu"}, {}),  # the automatic gain of ReLU is the critical one
        ({"activation": "relu", "init": {"scheme": "xavier_normal"}}, {"model.init.gain": "critical"}),
        ({"activation": "relu", "init": {"gain": 1.41}}, {}),
        ({"activation": "tanh"}, {"model.init.gain": "critical"}),  # automatic is 5/3
        ({"activation": "tanh", "init": {"scheme": "lecun_normal"}}, {}),
        ({"activation": "tanh", "init": {"scheme": "normal", "gain": 0.01}}, {"model.init.gain": "critical"}),
        ({"init": {"scheme": "zeros"}}, {"model.init.scheme": "kaiming_normal", "model.init.gain": "critical"}),
        ({"norm": "layer", "init": {"gain": 0.1}}, {}),
        ({"residual": True, "init": {"gain": 0.1}}, {}),
    ],
)
def test_weights_are_rescaled_where_they_are_not_critical(model: dict[str, Any], expected: dict[str, str]) -> None:
    _, run = trained(model=model)
    found = proposed("critical-init", run)
    assert (dict(found[0].changes) if found else {}) == expected


def test_the_learning_rate_is_derived_from_the_first_step_of_the_run() -> None:
    """A first update is proportional to the learning rate: at the one that is proposed it is the share that was aimed at."""
    given, run = trained(optimizer={"name": "sgd", "lr": 2.0})
    change = proposed("learning-rate-down", run)[0].changes["optimizer.lr"]
    again = train(given.model_copy(update={"optimizer": given.optimizer.model_copy(update={"lr": change})}))
    assert again.grid("steps", "displacement").values[0, 0] == pytest.approx(1e-2, rel=0.05)  # two digits of it


def test_a_looser_threshold_keeps_the_size_of_the_steps() -> None:
    _, run = made(SICK["clipped"])
    (found,) = proposed("looser-clipping", run)
    total, cut = (run.grid("steps", column).values[:, 0] for column in ("total_norm", "clip_coefficient"))
    assert found.changes["training.clip_norm"] > total.max()
    assert found.changes["optimizer.lr"] == rounded(0.05 * sorted(cut)[0] / 2 + 0.05 * sorted(cut)[1] / 2)


def test_a_looser_threshold_speaks_of_the_same_steps_as_the_finding() -> None:
    """Clipped more in the first quarter than later: the finding leaves that out, and so does what makes up for it."""
    run = train(load_config(ROOT / "configs" / "clipping-always-on.yaml"))
    (finding,) = check(run).findings
    (left,) = re.findall(r"to (\S+) of its norm", finding.message)
    assert f"when clipping leaves {left} of the gradient" in finding.remedies[0]
    everywhere = series(run, "clip_coefficient").measured.values
    assert float(left) > 1.2 * np.median(everywhere)


def test_what_another_finding_explains_is_cured_with_that_one() -> None:
    _, run = made(SICK["plain"])
    case = Case(run)
    case.found["vanishing-gradients"] = (Finding("GS101", "vanishing-gradients", Severity.ERROR, "m", "s", 1.0, 2.0),)
    assert advice(case, finding("stalled-layers", cause_code="GS101")) == ("cure GS101 first: it explains this",)
    assert len(advice(case, finding("stalled-layers", cause_code="GS102"))) > 1


def test_a_run_of_ones_own_code_is_told_lines_of_pytorch_for_its_layers() -> None:
    import torch
    from torch import nn

    layers = [m for _ in range(12) for m in (nn.Linear(16, 16), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watch(model, optimizer, every=1) as scope:
        for _ in range(40):
            optimizer.zero_grad()
            loss = model(torch.randn(8, 16)).square().mean() + model[-1].weight.sum()
            loss.backward()
            optimizer.step()
            scope.step(loss)
    case = judged(scope.run)
    told = advice(case, finding("vanishing-gradients"))
    assert "    nn.ReLU()  # for nn.Sigmoid(), nn.Tanh()" in told[0].splitlines()
    assert not any("kaiming_normal_(m.weight" in text for text in told)  # no scale rescues a sigmoid
    assert not any("lstm" in text for text in told)
    assert all("=" not in text.splitlines()[0] for text in told)


def test_values_are_shown_as_a_config_has_them() -> None:
    shows = {True: "true", 0.5: "0.5", 3: "3", "relu": "relu", None: "null"}
    assert {value: shown(value) for value in shows} == shows
    assert shown({"branch_scale": "1/sqrt(depth)"}) == "{branch_scale: 1/sqrt(depth)}"
    assert summary(REMEDIES["zero-bias"]) == "start the biases at 0"
