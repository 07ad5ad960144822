"""Shattered gradients: how alike the gradients of two rows stay by depth; and the residual network that itself explodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from gradscope.probe import LayerProbe, Probe
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.training.build import build
from gradscope.training.config import load_config
from scripts.experiments import Number, Result, codes, drawn, logarithmic, probed, titled, trained

TITLE = "Shattered gradients, and a residual network that explodes"
NORMED, UNSCALED = (Path(__file__).parent / f"{name}.yaml" for name in ("batch-norm", "unscaled"))
PLAIN, PAST = "plain, batch norm", "residual, batch norm"
NETS = {
    PLAIN: ["model.residual=false"],
    PAST: ["model.residual=true"],
    "plain, no norm": ["model.residual=false", "model.norm=none"],
    "residual, no norm": ["model.residual=true", "model.norm=none"],
}
BRANCHES = {
    "as it is": ["model.residual=true"],
    "batch norm": ["model.residual=true", "model.norm=batch"],
    "1/sqrt(depth)": ["model.residual={branch_scale: 1/sqrt(depth)}"],
}
POINTS, WALKS = 256, 5
"""Steps of a walk round a circle, and how many walks, each through another network."""
WIDE = 256
"""Units of the residual nets that are held against theory, which is of wide ones. The logarithm of what a vector's squared norm
gains in blocks scaled by 1/sqrt(depth) varies by 4 / width in all, from the cosine between stream and branch.
"""
PER_BLOCK = 0.035
"""What chance adds to a factor per layer of the squared gradient, relative: the most in theory's own trials at such widths."""
SEEN = 1e-3
"""Correlations below are chance: sqrt(2) / rows / sqrt(width) = 3e-4 is what unrelated gradients show."""
THROUGH = 20
"""Layers that the gradients pass where theory's number stands beside the measured one."""

Floats = NDArray[np.float64]


def run(short: bool) -> Result:
    counts = (2, 6, THROUGH) if short else (1, 2, 4, 6, 8, 12, THROUGH, 32, 48)
    seeds = range(1 if short else 3)
    last = likeness(PLAIN, 24, seeds)[-6:]  # of a deep net: there the rows are unrelated
    alike = {net: {n: likeness(net, n, seeds)[0] for n in counts} for net in NETS}
    theory = {net: expected(net, max(counts)) for net in NETS}
    walks = {net: [walk(net, 24, seed) for seed in range(WALKS)] for net in (PLAIN, PAST)}
    white = 3 / math.sqrt(WALKS * POINTS)
    probes = {name: untrained(more) for name, more in BRANCHES.items()}
    runs = {name: trained(UNSCALED, *more, f"training.steps={60 if short else 150}") for name, more in BRANCHES.items()}
    accuracy = {name: float(series(run, "accuracy").values[-10:].mean()) for name, run in runs.items()}
    growth = {name: grown(found) ** 2 for name, found in probes.items()}
    blocks = load_config(UNSCALED).model.depth - 2
    numbers = (
        Number.near(
            f"{PLAIN}: share of the correlation of two rows' gradients that a layer leaves", (last[0] / last[-1]) ** (1 / 5),
            0.5, "1/2 for unrelated rows (Balduzzi et al. 2017)", within=chance(5, seeds),
        ),
        *(
            Number.near(
                f"{net}: the same, mean of {THROUGH} layers", alike[net][THROUGH] ** (1 / THROUGH),
                theory[net][THROUGH - 1] ** (1 / THROUGH), "mean field, of these rows", within=chance(THROUGH, seeds),
            )
            for net in NETS if net != PLAIN
        ),
        Number(
            "walk, 24 plain layers: correlation of the derivative at neighbouring points", neighbours(walks[PLAIN]),
            -white, white, "white noise, 3 standard errors",
        ),
        Number(
            "the same, 24 residual blocks", neighbours(walks[PAST]), white, 1.0, "not white (Balduzzi et al. 2017)"
        ),
        Number.near(
            "branches as they are: factor of the squared gradient per block", growth["as it is"] ** (1 / blocks), 2.0,
            "1 + 1 (Yang & Schoenholz 2017)", within=PER_BLOCK,
        ),
        Number.near(
            "branches / sqrt(depth): factor of all blocks", growth["1/sqrt(depth)"], (1 + 1 / (blocks + 2)) ** blocks,
            "(1 + 1 / depth)^blocks, below e (Hayou et al. 2021)", within=3 * math.sqrt(4 / WIDE),
        ),
        Number.near(
            "branches with batch norm: factor per block", growth["batch norm"] ** (1 / blocks),
            foretold(probes["batch norm"]) ** (1 / blocks), "mean field; a power of the depth in all", within=PER_BLOCK,
        ),
        Number("rules that call the unscaled net exploding", float("GS102" in codes(runs["as it is"])), 1.0, 1.0, "GS102"),
        Number("rules that call the other two exploding", float(
            sum("GS102" in codes(runs[name]) for name in list(BRANCHES)[1:])), 0.0, 0.0, "GS102"),
        Number("accuracy, unscaled", accuracy["as it is"], 0.0, 0.3, "2^40 in the squared norm"),
        Number("accuracy, branches / sqrt(depth)", accuracy["1/sqrt(depth)"], 0.9, 1.0, "it learns"),
    )  # fmt: skip
    return Result(numbers, figure(walks, alike, theory, probes))


def chance(layers: int, seeds: Sequence[int]) -> float:
    """Three deviations of a mean factor per layer, relative: ln ||J u||^2 of a ReLU net varies by 5 / width per layer."""
    return 3 * math.sqrt(5 / (load_config(NORMED).model.width * layers * len(seeds)))


def likeness(net: str, count: int, seeds: Sequence[int]) -> Floats:
    """The mean correlation of two rows' gradients before each of ``count`` ReLU layers, the first one's first."""
    return np.mean([np.array([alikeness(g) for g in gradients(net, count, seed)]) for seed in seeds], axis=0)


def gradients(net: str, count: int, seed: int) -> list[Tensor]:
    """d(sum of outputs) / d(input of a layer), for each row by itself and for each of ``count`` ReLU layers.

    The norms' means and deviations are held at those of the batch: with them, what all rows have in common would be taken
    out of their gradients at every layer, and there would be no correlation to measure.
    """
    model, x = network(net, count, seed)
    kept: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _m, _i, h: kept.append(h)) for layer in model.layers]
    y = model(x).sum()
    for handle in handles:
        handle.remove()
    return list(torch.autograd.grad(y, kept[:count]))


def network(net: str, count: int, seed: int) -> tuple[nn.Module, Tensor]:
    """One through whose ``count`` ReLU layers each path leads, its norms standing still, and the first rows of the digits."""
    depth = count + (1 if "plain" in net else 2)
    setup = build(load_config(NORMED, ["device=cpu", *NETS[net], f"model.depth={depth}", f"seed={seed}"]))
    x, _ = setup.first_batch()
    return held(setup.model, x), x


@torch.no_grad()
def held(model: nn.Module, x: Tensor) -> nn.Module:
    """The model in evaluation mode, its norms with the mean and deviation that they had over ``x``."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    model(x)
    return model.eval()


def alikeness(rows: Tensor) -> float:
    """The mean of the cosine over all pairs of rows."""
    units = nn.functional.normalize(rows.double(), dim=1)
    count = len(units)
    return float((units.sum(0).square().sum() - count) / (count * (count - 1)))


def expected(net: str, most: int) -> Floats:
    """What mean-field theory says of ``likeness(net, n)[0]`` for n from 1 to ``most``, from the products of the digits' rows.

    Two signals at an angle are both on with probability (1 - angle / pi) / 2, which is E[phi'(z1) phi'(z2)], against 1/2 for
    one, E[phi'^2]; the products of the next signals are the arc-cosine kernel (Cho & Saul 2009). Through a branch the squared
    gradient goes with the factor ``gain``, past it with 1.
    """
    _, x = network(net, 1, 0)
    rows, plain, normed = x.double().numpy(), "plain" in net, "batch norm" in net
    stream = 2.0 * rows @ rows.T / rows.shape[1]
    kept, found = np.ones_like(stream), []
    for _ in range(most):
        z = stream - stream.mean(0) - stream.mean(1)[:, None] + stream.mean() if normed else stream
        variance = float(np.trace(z)) / len(z) if normed else 1.0
        gain = mean_inverse_variance(z) if normed and not plain else 1.0
        lengths = np.sqrt(np.diag(z) / variance)
        scale = lengths[:, None] * lengths
        angle = np.arccos(np.clip(z / (variance * scale), -1.0, 1.0))
        both = 1.0 - angle / np.pi
        signals = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
        kept = kept * (both if plain else (1.0 + gain * both) / (1.0 + gain))
        stream = signals if plain else stream + signals
        found.append((kept.sum() - len(kept)) / (len(kept) * (len(kept) - 1)))
    return np.array(found)


def mean_inverse_variance(products: Floats) -> float:
    """E[1 / v] over units, v a unit's variance over the rows; more than 1 / E[v], as few directions make up the digits.

    v is a sum of squares weighted by the eigenvalues of the rows' products, and E[1 / v] the integral of E[exp(-s v)].
    """
    shares = np.linalg.eigvalsh(products)[1:] / len(products)
    s = np.logspace(-6, 6, 600)
    return float(np.trapezoid(np.exp(-0.5 * np.log1p(2.0 * s[:, None] * shares.clip(0.0)).sum(1)), s))


def walk(net: str, count: int, seed: int) -> Floats:
    """The derivative of the first output along a walk once round a circle through the space of the digits."""
    model, x = network(net, count, seed)
    draw = torch.Generator().manual_seed(seed)
    one, other = torch.linalg.qr(torch.randn(x.shape[1], 2, generator=draw))[0].T * math.sqrt(x.shape[1])
    turn = torch.arange(POINTS)[:, None] * (2 * math.pi / POINTS)
    points = (turn.cos() * one + turn.sin() * other).requires_grad_()
    (gradient,) = torch.autograd.grad(held(model, points)(points)[:, 0].sum(), points)
    along = (gradient * (turn.cos() * other - turn.sin() * one)).sum(1).double()
    return (along / along.std()).numpy()


def neighbours(walks: Sequence[Floats]) -> float:
    """The correlation of each point with the next one, the mean of all walks."""
    return float(np.mean([np.corrcoef(values, np.roll(values, 1))[0, 1] for values in walks]))


def untrained(more: Sequence[str]) -> Probe:
    return probed(UNSCALED, f"model.width={WIDE}", *more)


def blocks_of(found: Probe) -> list[LayerProbe]:
    """The stem, whose output the first block reads, and the blocks."""
    return [layer for layer in found.layers if layer.name.startswith("layers.")]


def grown(found: Probe) -> float:
    """The gradient's norm before all blocks over that behind them."""
    first, *_, last = blocks_of(found)
    assert first.ratio is not None
    assert last.ratio is not None
    return first.ratio / last.ratio


def foretold(found: Probe) -> float:
    """Theory's word on ``grown``, squared."""
    return math.prod((block.predicted.gain or math.nan) ** 2 for block in blocks_of(found)[1:] if block.predicted)


def figure(
    walks: dict[str, list[Floats]],
    alike: dict[str, dict[int, float]],
    theory: dict[str, Floats],
    probes: dict[str, Probe],
) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        for i, (net, found) in enumerate(walks.items()):
            middle = -i * 8.0
            axes[0].axhline(middle, color=theme.REFERENCE, lw=0.6)
            axes[0].plot(np.linspace(0.0, 360.0, POINTS), found[0] + middle, color=theme.run_look(i).colour, lw=0.9)
            axes[0].text(0.0, middle + 3.4, net, color=theme.run_look(i).colour, size=8)
        along, derivative = "degrees round a circle of inputs", "derivative of an output along it"
        titled(axes[0], "Through 24 layers, untrained", along, derivative, ylim=(-12.0, 5.0))
        axes[0].set_yticks([])
        axes[0].set_xticks([0, 90, 180, 270, 360])
        for i, (net, found) in enumerate(alike.items()):
            look = theme.run_look(i)
            axes[1].plot(np.arange(1, len(theory[net]) + 1), theory[net], color=look.colour, lw=0.9)
            seen = {n: value for n, value in found.items() if value > SEEN}
            axes[1].plot(list(seen), list(seen.values()), label=net, **(look.line() | {"linestyle": "none"}))
        logarithmic(axes[1], "y", 2e-5, 1.5)
        titled(
            axes[1],
            "How alike two rows' gradients are",
            "layers, or blocks, on the way back",
            "correlation of two rows' gradients",
        )
        axes[1].legend(loc="lower right", fontsize=7, handlelength=1.0, borderaxespad=0.0)
        for i, (name, found) in enumerate(probes.items()):
            ratios = [layer.ratio or math.nan for layer in blocks_of(found)]
            axes[2].plot(
                np.arange(len(ratios)), np.array(ratios) / ratios[-1], label=name, markevery=8, **theme.run_look(i).line()
            )
        logarithmic(axes[2], "y", 0.5, 1e8)
        titled(
            axes[2],
            "Three residual branches, untrained",
            "block, from input to output",
            "gradient, relative to the last block's",
        )
        axes[2].legend(loc="upper right")

    reading = (
        "Left and middle: behind many plain layers the gradients at neighbouring inputs have nothing to do with each other, "
        "behind blocks they have (lines: theory). Right: unless it is scaled, each block doubles the squared gradient."
    )
    return drawn(TITLE, reading, 3, draw)
