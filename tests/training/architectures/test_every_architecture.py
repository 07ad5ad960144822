"""What each architecture keeps to, plain and residual, in every precision."""

from __future__ import annotations

import json
import pickle
from itertools import product
from typing import Any

import pytest
import torch

from gradscope.training.build import build
from gradscope.training.config import ARCHITECTURES
from tests.training.architectures.stations import PRECISIONS, small, trunk, watched

ROWS = {"name": "digits", "layout": "rows", "batch_size": 16}
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "cnn": [{"depth": 4, "width": 4, "norm": n, "residual": r} for n in ("none", "batch") for r in (False, True)],
    "highway": [{"depth": 4, "width": 8}],
    "import": [{"factory": "tests.training.own:Network", "kwargs": {"width": 8}}],
    "logistic": [{}],
    "mlp": [{"depth": 4, "width": 8, "residual": r} for r in (False, True, {"branch_scale": 0.0})],
    "resnet": [{"depth": 8, "width": 4, "norm": n, "residual": r} for n in ("none", "batch") for r in (False, True)],
    "rnn": [{"cell": cell, "width": 8, "layers": 2} for cell in ("tanh", "relu", "lstm", "gru")],
    "transformer": [
        {"layers": 2, "width": 8, "feedforward": 8, "norm_first": first, "residual": residual}
        for first, residual in product([True, False], [True, False])
    ],
}
CASES = [{"kind": kind, **options} for kind, found in EXAMPLES.items() for options in found]


def data_for(model: dict[str, Any]) -> dict[str, Any] | None:
    return None if 3 in ARCHITECTURES[model["kind"]].Options.reads else ROWS


def test_every_architecture_has_its_examples() -> None:
    assert set(EXAMPLES) == set(ARCHITECTURES.built_in)


@pytest.mark.parametrize(("model", "precision"), list(product(CASES, PRECISIONS)), ids=json.dumps)
def test_a_watched_step_in_every_precision_names_its_stations_in_forward_order(model: dict[str, Any], precision: str) -> None:
    run, trainer = watched(small(model, data_for(model), training={"precision": precision}))
    modules = [name for name, _ in trainer.model.named_modules()]
    layers = run.manifest.catalogue.layers
    assert [layer.order for layer in layers] == list(range(len(layers)))
    assert {layer.name for layer in layers} <= set(modules)
    assert {p for layer in layers for p in layer.parameters} == {name for name, _ in trainer.model.named_parameters()}
    assert trunk(run)[-1] == "head"
    assert layers[-1].name == "head"
    assert not run.manifest.notes
    assert (run.grid("parameters", "grad_norm").values > 0).any()


@pytest.mark.parametrize("model", CASES, ids=json.dumps)
def test_weights_follow_the_seed_alone(model: dict[str, Any]) -> None:
    one, again, other = (build(small(model, data_for(model), seed=seed)).model for seed in (1, 1, 2))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("model", CASES, ids=json.dumps)
def test_a_network_pickles(model: dict[str, Any]) -> None:
    setup = build(small(model, data_for(model)))
    x = setup.first_batch()[0]
    setup.model.eval()
    assert torch.equal(pickle.loads(pickle.dumps(setup.model))(x), setup.model(x))


@pytest.mark.parametrize("model", CASES, ids=json.dumps)
def test_every_architecture_learns_its_first_batch(model: dict[str, Any]) -> None:
    setup = build(small(model, data_for(model)))
    x, classes = setup.first_batch()
    optimizer = torch.optim.Adam(setup.model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = setup.loss(setup.model(x), classes)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
