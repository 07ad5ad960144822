"""Attribution on every architecture of the lab, in float64: what each link is due to adds up to what was measured."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradscope
from gradscope.record.run import Run
from gradscope.signals.attribution import KINDS, attribution
from gradscope.training.architectures import cnn, highway, logistic, mlp, resnet, rnn, transformer

own = import_module("gradscope.training.architectures.import")
EXACT = 1e-9
SHAPES: dict[str, tuple[int, ...]] = {"rnn": (6, 5), "transformer": (6, 5), "cnn": (1, 8, 8), "resnet": (1, 8, 8)}
NETS: list[tuple[Any, dict[str, Any], bool]] = [
    *((mlp, {"depth": 6, "width": 8, "norm": norm}, True) for norm in ("none", "batch", "layer", "rms")),
    *((mlp, {"depth": 6, "width": 8, "norm": norm, "residual": True}, True) for norm in ("none", "batch", "layer", "rms")),
    (cnn, {"depth": 4, "width": 4, "head": "flatten"}, True),
    (cnn, {"depth": 4, "width": 4, "head": "mean"}, True),
    (cnn, {"depth": 5, "width": 4, "pool_every": 2, "dropout": 0.2}, True),
    *(
        (cnn, {"depth": 5, "width": 4, "head": "flatten", "norm": n, "residual": True}, True)
        for n in ("none", "batch", "group")
    ),
    (resnet, {"depth": 14, "width": 4}, False),
    *((resnet, {"depth": 14, "width": 4, "shortcut": "projection", "norm": norm}, True) for norm in ("none", "batch")),
    (resnet, {"depth": 14, "width": 4, "residual": False}, True),
    *((rnn, {"cell": cell, "layers": 2, "width": 6}, True) for cell in ("tanh", "lstm", "gru")),
    *(
        (transformer, {"layers": 2, "width": 8, "heads": 2, "feedforward": 8, "norm_first": first, "norm": norm}, told)
        for first, norm, told in ((True, "layer", True), (True, "rms", True), (True, "none", True), (False, "layer", True))
    ),
    (highway, {"depth": 5, "width": 8}, False),
    (logistic, {}, True),
    (own, {"factory": "tests.training.own:Network", "kwargs": {"width": 5}}, True),
]
"""Module, options, and whether all links are told: those of the others stand, some or all, under what cannot be told apart."""


def _name(net: Any) -> str:
    module, options, _ = net
    return "-".join(
        [module.__name__.rpartition(".")[2], *(f"{k}={v}" for k, v in options.items() if isinstance(v, str | bool))]
    )


BLOCKS = {
    "mlp": (4, 4),
    "cnn": (3, 3),
    "resnet": (4, 6),
    "resnet-projection": (6, 6),
    "transformer-pre": (4, 4),
    "transformer-pre-none": (4, 4),
    "transformer-post": (4, 4),
    "highway": (0, 3),
}
"""By architecture: residual blocks that are told, of how many. Past the widening ones of a ResNet without projections every
other pixel is passed on, a highway layer multiplies it by a gate.
"""
THRICE = ("transformer-pre-none", "transformer-post")
"""Where attention reads the stream without a norm in front: three layers do, and what the branch sends back is no one norm."""


def _recorded(net: Any, seen: dict[str, tuple[Tensor, Tensor]]) -> tuple[nn.Module, Run]:
    """A net and the record of a step; ``seen`` gets each module's input and output, which keep their gradients."""
    module, options, _ = net
    shape = SHAPES.get(module.__name__.rpartition(".")[2], (6,))
    torch.manual_seed(0)
    model = module.build(module.Options(**options), shape, 3).double()
    x = torch.randn(5, *shape, dtype=torch.float64)

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (args[0], output)
            for tensor in (args[0], output):
                if tensor.requires_grad:
                    tensor.retain_grad()

        return hook

    with gradscope.watch(model, every=1) as scope:
        handles = [m.register_forward_hook(keep(n)) for n, m in model.named_modules() if not isinstance(m, nn.RNNBase)]
        loss = model(x).square().sum()
        loss.backward()
        for handle in handles:
            handle.remove()
        scope.step(loss)
    return model, scope.run


RESIDUAL = [net for net in NETS if net[1].get("residual", net[0] in (resnet, transformer, highway))]


@pytest.mark.parametrize("net", RESIDUAL, ids=_name)
def test_gain_and_angle_of_every_branch_are_those_of_its_own_product_of_vector_and_jacobian(net: Any) -> None:
    """F alone, run again on the block's input: torch.autograd.grad of (sum - input), pulled by the gradient at the sum."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    model, run = _recorded(net, seen)
    found = attribution(run)
    kind = net[0].__name__.rpartition(".")[2]
    if kind == "transformer":
        kind += ("-pre" if net[1]["norm_first"] else "-post") + ("-none" if net[1]["norm"] == "none" else "")
    if "shortcut" in net[1]:
        kind += f"-{net[1]['shortcut']}"
    assert len(found.blocks) == BLOCKS[kind][0]
    assert len([w for w in found.layers if w != "head" and w.startswith("layers.")]) == BLOCKS[kind][1]
    untold = [name for name in found.blocks if np.isnan(found.branch[0, found.layers.index(name)])]
    assert untold == [name for name in found.blocks if kind in THRICE and "attention" in name]
    for name in found.blocks:
        if name in untold:
            continue
        end = model.get_submodule(name)
        inside = not any(True for _ in end.children())  # the block ends in an operation that follows its sum
        block = name.rpartition(".")[0] if inside else name
        h, after = seen[block][0], seen[name][0 if inside else 1]
        given, again = h.detach().requires_grad_(), []
        catch = end.register_forward_hook(
            lambda _m, args, out, inside=inside, again=again: again.append(args[0] if inside else out)
        )
        model.get_submodule(block)(given)
        catch.remove()
        assert h.grad is not None
        assert after.grad is not None
        shortcut = getattr(model.get_submodule(block), "shortcut", None) or nn.Identity()
        (back,) = torch.autograd.grad(again[0] - shortcut(given), given, after.grad)
        (past,) = torch.autograd.grad(shortcut(given), given, after.grad)
        at = found.layers.index(name)
        gain, angle = back.norm() / after.grad.norm(), (back * past).sum() / (back.norm() * past.norm())
        beside = past.norm() / after.grad.norm()
        assert abs(found.branch[0, at] - gain.item()) < EXACT
        assert abs(found.past[0, at] - beside.item()) < EXACT
        assert abs(found.cosine[0, at] - angle.item()) < EXACT
        squared = found.past[0, at] ** 2 + found.branch[0, at] ** 2 + found.cross[0, at]
        assert abs(squared - (h.grad.norm() / after.grad.norm()).item() ** 2) < EXACT
        assert abs(found.inside[0, at].sum() - np.log10(gain.item())) < EXACT


@pytest.mark.parametrize("net", NETS, ids=_name)
def test_the_decades_of_every_link_add_up_to_the_ratio_of_its_ends(net: Any) -> None:
    told = net[2]
    _, run = _recorded(net, {})
    found = attribution(run)
    grid = run.grid("layers", "backward_norm")
    norms = {name: grid.values[0, i] for i, (name, _) in enumerate(grid.entities)}
    stations = [info.name for info in run.catalogue.layers if info.trunk]
    assert found.layers == tuple(stations[1:])
    for i, (a, b) in enumerate(pairwise(stations)):
        assert abs(found.decades[0, i].sum() - np.log10(norms[a] / norms[b])) < EXACT
    if len(stations) > 1:
        assert abs(found.end_to_end[0] - np.log10(norms[stations[0]] / norms[stations[-1]])) < EXACT
    assert (found.unexplained == ()) == told, found.unexplained


FIXED = {
    "mean": ((cnn, {"depth": 4, "width": 4, "head": "mean"}, True), "layers.2.activation", "head"),
    "dropout": ((mlp, {"depth": 4, "width": 8, "dropout": 0.4}, True), "activations.1", "layers.2"),
    "dropout in a block": (
        (mlp, {"depth": 4, "width": 8, "dropout": 0.4, "residual": True}, True),
        "layers.1.activation",
        "layers.1.linear",
    ),
    "positions": ((transformer, {"layers": 1, "width": 8, "heads": 2, "feedforward": 8}, True), "norm", "head"),
}


@pytest.mark.parametrize("what", FIXED)
def test_an_operation_without_parameters_has_the_gain_of_its_own_two_ends(what: str) -> None:
    """The gradient at what it reads over that at what it gives, both as torch kept them."""
    net, before, after = FIXED[what]
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    _, run = _recorded(net, seen)
    found = attribution(run)
    read, given = seen[before][1].grad, seen[after][0].grad
    assert read is not None
    assert given is not None
    part = np.log10((read.norm() / given.norm()).item())
    assert abs(part) > 1e-3
    decades = found.inside if what == "dropout in a block" else found.decades
    link = found.layers.index(after.rpartition(".")[0] if what == "dropout in a block" else after.replace(".conv", ""))
    assert abs(decades[0, link, KINDS.index("fixed")] - part) < EXACT
    assert found.unexplained == ()
