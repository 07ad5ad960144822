"""Attribution on every architecture of the lab, in float64: what each link is due to adds up to what was measured."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import gradscope
from gradscope.signals.attribution import attribution
from gradscope.training.architectures import cnn, highway, logistic, mlp, resnet, rnn, transformer

EXACT = 1e-9
SHAPES: dict[str, tuple[int, ...]] = {"rnn": (6, 5), "transformer": (6, 5), "cnn": (1, 8, 8), "resnet": (1, 8, 8)}
NETS: list[tuple[Any, dict[str, Any], bool]] = [
    *((mlp, {"depth": 6, "width": 8, "norm": norm}, True) for norm in ("none", "batch", "layer", "rms")),
    *(
        (mlp, {"depth": 6, "width": 8, "norm": norm, "residual": True}, norm != "rms")
        for norm in ("none", "batch", "layer", "rms")
    ),
    (cnn, {"depth": 4, "width": 4, "head": "flatten"}, True),
    (cnn, {"depth": 4, "width": 4, "head": "mean"}, False),
    (resnet, {"depth": 8, "width": 4}, False),
    *((rnn, {"cell": cell, "layers": 2, "width": 6}, True) for cell in ("tanh", "lstm", "gru")),
    *(
        (transformer, {"layers": 2, "width": 8, "heads": 2, "feedforward": 8, "norm_first": first}, False)
        for first in (True, False)
    ),
    (highway, {"depth": 5, "width": 8}, False),
    (logistic, {}, True),
]
"""Module, options, and whether all links are told: those of the others stand, some or all, under what cannot be told apart."""


def _name(net: Any) -> str:
    module, options, _ = net
    return "-".join(
        [module.__name__.rpartition(".")[2], *(f"{k}={v}" for k, v in options.items() if isinstance(v, str | bool))]
    )


@pytest.mark.parametrize("net", NETS, ids=_name)
def test_the_decades_of_every_link_add_up_to_the_ratio_of_its_ends(net: Any) -> None:
    module, options, told = net
    shape = SHAPES.get(module.__name__.rpartition(".")[2], (6,))
    torch.manual_seed(0)
    model = module.build(module.Options(**options), shape, 3).double()
    x = torch.randn(5, *shape, dtype=torch.float64)
    with gradscope.watch(model, every=1) as scope:
        loss = model(x).square().sum()
        loss.backward()
        scope.step(loss)
    run, found = scope.run, attribution(scope.run)
    grid = run.grid("layers", "backward_norm")
    norms = {name: grid.values[0, i] for i, (name, _) in enumerate(grid.entities)}
    stations = [info.name for info in run.catalogue.layers if info.trunk]
    assert found.layers == tuple(stations[1:])
    for i, (a, b) in enumerate(pairwise(stations)):
        assert abs(found.decades[0, i].sum() - np.log10(norms[a] / norms[b])) < EXACT
    if len(stations) > 1:
        assert abs(found.end_to_end[0] - np.log10(norms[stations[0]] / norms[stations[-1]])) < EXACT
    assert (found.unexplained == ()) == told, found.unexplained
