"""Nets whose options are drawn: wherever theory has a word, what is measured lies where it allows."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import gradscope
from gradscope.training.architectures import cnn, mlp
from gradscope.training.blocks import ACTIVATIONS

SOME = 24
"""Of 150 such nets, one departed: at a length of which theory itself says that it is an unstable fixed point."""


def options(draw: random.Random, *, images: bool) -> dict[str, Any]:
    """Without hardshrink, which jumps, so that theory drifts off and says so, and identity, with which a branch may begin with
    its dropout.
    """
    return {
        "depth": draw.randint(2, 16),
        "width": draw.choice([48, 96] if images else [64, 128, 200]),
        "activation": draw.choice([name for name in ACTIVATIONS if name not in ("hardshrink", "identity")]),
        "bias": draw.random() < 0.8,
        "residual": draw.choice([False, False, True, {"branch_scale": draw.choice([0.3, 1.0, "1/sqrt(depth)"])}]),
        "dropout": draw.choice([0.0, 0.0, 0.2]),
        "norm": draw.choice(["none", "none", "group"] if images else ["none", "none", "layer", "rms", "batch"]),
        "init": {
            "scheme": draw.choice(["kaiming_normal", "xavier_normal", "lecun_normal", "kaiming_uniform", "orthogonal"]),
            "gain": draw.choice(["auto", 0.6, 1.0, 1.5]),
        },
        **({"kernel_size": draw.choice([1, 3, 5]), "head": draw.choice(["mean", "flatten"])} if images else {}),
    }


@pytest.mark.parametrize("seed", range(SOME))
def test_a_drawn_net_is_measured_where_theory_allows(seed: int) -> None:
    images = seed % 2 == 1
    architecture: Any = cnn if images else mlp
    shape = (2, 5, 8) if images else (40,)
    chosen = architecture.Options(**options(random.Random(seed), images=images))
    torch.manual_seed(seed)
    model = architecture.build(chosen, shape, 5)
    found = gradscope.probe(model, (torch.randn(64, *shape), torch.randint(0, 5, (64,))), F.cross_entropy)
    assert found.theory is None
    assert found.attribution.unexplained == ()
    assert found.departures == () or any("unstable" in note for note in found.notes)
    assert len(found.layers) == chosen.depth
