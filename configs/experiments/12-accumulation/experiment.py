"""Gradient accumulation: k micro-batches are one batch where each loss is divided by k; and three ways to miss that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from gradscope.render import theme
from gradscope.training.build import Setup, build
from gradscope.training.config import load_config
from scripts.experiments import Number, Result, drawn, logarithmic, titled

TITLE = "Gradient accumulation"
CONFIG = Path(__file__).parent / "config.yaml"
PARTS = 4


def run(short: bool) -> Result:
    setup, rows = prepared(), 256
    whole = gradient(setup, [rows], divide=True)
    apart = {
        "each loss / 4": distance(gradient(setup, [rows // PARTS] * PARTS, divide=True), whole),
        "not divided": distance(gradient(setup, [rows // PARTS] * PARTS, divide=False), whole),
        "unequal parts, each / 4": distance(gradient(setup, [128, 64, 32, 32], divide=True), whole),
        "unequal parts, by rows": distance(gradient(setup, [128, 64, 32, 32], divide="rows"), whole),
    }
    normed = prepared("model.norm=batch")
    batch = gradient(normed, [rows], divide=True)
    apart["batch norm, each / 4"] = distance(gradient(normed, [rows // PARTS] * PARTS, divide=True), batch)
    times = norm(gradient(setup, [rows // PARTS] * PARTS, divide=False)) / norm(whole)
    large, small = saved_bytes(setup, rows), saved_bytes(setup, rows // PARTS)
    exact = "linearity of the gradient; rounding of float64"
    numbers = (
        Number("relative distance of 4 x 64 rows from 256 rows, each loss / 4", apart["each loss / 4"], 0.0, 1e-12, exact),
        Number.near("factor of the gradient where no loss is divided", times, PARTS, "a sum of four means", within=1e-12),
        Number("unequal parts weighted by their rows: distance", apart["unequal parts, by rows"], 0.0, 1e-12, exact),
        Number("unequal parts, each / 4: distance", apart["unequal parts, each / 4"], 0.05, np.inf, "not the same mean"),
        Number("batch norm: distance", apart["batch norm, each / 4"], 0.02, np.inf, "each part has its own mean and deviation"),
        Number.near(
            "bytes kept for backward, 256 rows over 64", large / small, PARTS, "one part is kept at a time", within=0.1
        ),
    )
    return Result(numbers, figure(apart, large, small))


def prepared(*overrides: str) -> Setup:
    """The network in float64, so that what is left of a difference is the method's and not rounding's."""
    setup = build(load_config(CONFIG, ["device=cpu", *overrides]))
    setup.model.double()
    return setup


def gradient(setup: Setup, parts: Sequence[int], *, divide: bool | str) -> Tensor:
    """The accumulated gradient of all parameters as one vector, over the first rows of the data in these parts."""
    setup.model.zero_grad()
    start = 0
    for rows in parts:
        share = rows / sum(parts) if divide == "rows" else 1 / len(parts) if divide else 1.0
        (forward(setup.model, setup, slice(start, start + rows)) * share).backward()
        start += rows
    return torch.cat([p.grad.flatten() for p in setup.model.parameters() if p.grad is not None])


def forward(model: nn.Module, setup: Setup, at: slice) -> Tensor:
    return setup.loss(model(setup.data.train.x[at].double()), setup.data.train.y[at])


def saved_bytes(setup: Setup, rows: int) -> int:
    """Bytes of the activations that autograd keeps for a backward pass over so many rows; parameters are there anyway."""
    known = {p.untyped_storage().data_ptr() for p in setup.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward(setup.model, setup, slice(0, rows))
    del loss
    return sum(kept.values())


def distance(one: Tensor, other: Tensor) -> float:
    return norm(one - other) / norm(other)


def norm(vector: Tensor) -> float:
    return float(torch.linalg.vector_norm(vector))


def figure(apart: dict[str, float], large: int, small: int) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        names = list(apart)[::-1]
        axes[0].barh(names, [apart[n] for n in names], color=theme.run_look(0).colour)
        logarithmic(axes[0], "x", 1e-17, 10.0)
        axes[0].axvline(1e-12, color=theme.REFERENCE, lw=0.8, ls="--")
        titled(axes[0], "Is it the same gradient?", "relative distance from the batch's gradient", "")
        axes[0].tick_params(axis="y", labelsize=7)
        at = axes[0].get_position()
        axes[0].set_position((at.x0 + 0.09, at.y0, at.width - 0.09, at.height))
        axes[1].bar(["one batch\nof 256 rows", "four parts\nof 64 rows"], [large / 2**20, small / 2**20], width=0.5,
                    color=[theme.run_look(0).colour, theme.run_look(1).colour])  # fmt: skip
        titled(axes[1], "What is saved", "", "MiB kept for backward")

    reading = (
        "Left of the dashed line, at 1e-12, two gradients are the same to rounding. Four parts equal the batch where each loss "
        "is divided by four, or, of unequal parts, weighted by its rows; never under batch norm."
    )
    return drawn(TITLE, reading, 2, draw)
