"""The learning rate: too small crawls, too large diverges, where the edge lies; and whether a small one gets stuck."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.sweep.find import Bracket
from gradscope.sweep.grouping import groups
from gradscope.sweep.table import Table
from gradscope.training.build import build
from gradscope.training.config import load_config
from scripts.experiment_sweeps import edges, swept
from scripts.experiments import Number, Result, beside, drawn, logarithmic, titled, trained

TITLE = "The learning rate"
HERE = Path(__file__).parent
SQUARES, NETWORK = HERE / "least-squares.yaml", HERE / "network.yaml"
RATE, MOMENTUM = "optimizer.lr", "optimizer.momentum"
ABOVE: Mapping[str, Any] = {"axes": {RATE: {"log": [0.3, 10.0], "points": 2}}}
"""The part of the network's rates in which its edge is looked for."""
SHORT: Mapping[str, Mapping[str, Any]] = {
    "squares": {"axes": {RATE: {"log": [0.1, 0.6], "points": 2}, MOMENTUM: [0.0]}, "set": {"training.steps": 60}},
    "above": {**ABOVE, "seeds": 1, "set": {"training.steps": 30}},
    "rates": {"axes": {RATE: {"log": [1e-5, 10.0], "points": 2}}, "seeds": 1, "set": {"training.steps": 10}},
}
"""What is fewer and smaller in the short form."""
STUCK, FREE = 0.01, 1.0
"""Rates on the surface with two minima."""


def run(short: bool) -> Result:
    surface = beside(__file__, "surface")
    ends = {rate: surface.height(surface.descend(rate)[-1]) for rate in (STUCK, FREE)}
    width = 0.2 if short else 0.05
    squares = edges(HERE / "squares.yaml", RATE, "pathological", short and SHORT["squares"], tolerance=width, short=short)
    above = SHORT["above"] if short else ABOVE
    brackets = edges(HERE / "rates.yaml", RATE, "GS304", above, tolerance=1.0 if short else 0.1, short=short)
    edge = [middle(b) * sharpness(NETWORK, f"seed={b.at['seed']}") / 2 for b in brackets]
    table = swept(HERE / "rates.yaml", short and SHORT["rates"], short=short)
    seeds, time, rates = ((0,), 9.0, (0.3, 0.1)) if short else ((0, 1, 2), 30.0, (0.3, 0.1, 0.03))
    flows = [{rate: flow(rate, time, seed) for rate in rates} for seed in seeds]
    ratios = [end(run) / end(same[rates[-1]]) for same in flows for run in same.values()]
    crawls = [first_order(trained(NETWORK, f"{RATE}=1e-5", f"seed={seed}", "training.steps=20")) for seed in seeds]
    over = "" if short else ", the worst of three starts"
    numbers = (
        *(
            Number.near(
                f"least squares, momentum {b.at[MOMENTUM]:g}: the edge", middle(b),
                2 * (1 + float(b.at[MOMENTUM])) / sharpness(SQUARES), "2 (1 + momentum) / sharpness (Cohen et al. 2021)",  # type: ignore[arg-type]
                within=width / 2,
            )
            for b in squares
        ),
        Number.near(
            f"network at 1e-5: fall of the loss, over rate times squared gradients{over}", furthest(crawls), 1.0,
            "first order of Taylor", within=0.01,
        ),
        Number(
            f"network: its edge times sharpness at the start, over 2{over}", min(edge), 1.0, math.inf,
            "below 1 no step goes up at first (Cohen et al. 2021)",
        ),
        Number.near(
            f"network, same rate x steps: loss at the end, over that of the smallest rate{over}", furthest(ratios), 1.0,
            "gradient flow", within=0.1,
        ),
        Number(
            f"network: accuracy of the smallest of these rates{over}", min(accuracy(same[rates[-1]]) for same in flows),
            0.9, 1.0, "it does not stick",
        ),
        Number.near(
            "surface: largest rate that settles in the narrow minimum", surface.largest_rate_that_settles(0.01),
            2 / surface.curvature(surface.narrow_minimum()), "2 / its curvature", within=0.02,
        ),
        Number(
            f"surface: height at which a rate of {STUCK:g} ends", ends[STUCK], 0.1, math.inf, "it sticks; the wide minimum is 0"
        ),
        Number(f"surface: height at which a rate of {FREE:g} ends", ends[FREE], -1e-6, 1e-6, "it leaves for the wide one"),
    )  # fmt: skip
    return Result(numbers, figure(surface, table, flows[0]))


def middle(bracket: Bracket) -> float:
    """Of the two values between which an edge lies; NaN where none was found."""
    if bracket.reason:
        return math.nan
    return math.sqrt(float(bracket.without) * float(bracket.found))  # type: ignore[arg-type]


@cache
def sharpness(config: Path, *options: str) -> float:
    """The largest eigenvalue of the loss's Hessian at the start, all rows at once, by power iteration."""
    setup = build(load_config(config, ["device=cpu", *options]))
    x, y = setup.first_batch()
    weights = list(setup.model.parameters())
    gradient = torch.autograd.grad(setup.loss(setup.model(x), y), weights, create_graph=True)
    vector = [torch.ones_like(w) for w in weights]
    value = torch.zeros(())
    for _ in range(50):
        length = torch.cat([v.flatten() for v in vector]).norm()
        vector = [v / length for v in vector]
        product = torch.autograd.grad(gradient, weights, grad_outputs=vector, retain_graph=True)
        value = sum(((v * p).sum() for v, p in zip(vector, product, strict=True)), torch.zeros(()))
        vector = [p.detach() for p in product]
    return float(value)


def flow(rate: float, time: float, seed: int) -> Run:
    """Training for so much ``time``, which is rate times steps."""
    return trained(NETWORK, f"seed={seed}", f"{RATE}={rate}", f"training.steps={round(time / rate)}", "record.every=100")


def first_order(run: Run) -> float:
    """How far the loss fell, over what its gradient at each step promised: rate times its squared norm."""
    loss, norm, rate = (series(run, name).values for name in ("loss", "total_norm", "lr"))
    return float((loss[0] - loss[-1]) / (rate[:-1] * norm[:-1] ** 2).sum())


def furthest(ratios: Sequence[float]) -> float:
    """The one furthest from 1."""
    return max(ratios, key=lambda ratio: abs(math.log(ratio)))


def end(run: Run) -> float:
    return float(series(run, "loss").values[-1])


def accuracy(run: Run) -> float:
    return float(series(run, "accuracy").values[-1])


def figure(surface: Any, table: Table, flows: Mapping[float, Run]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        found = groups(table)
        at = [float(group.at[RATE]) for group in found]  # type: ignore[arg-type]
        losses = [group.spread("loss") for group in found]
        low, mid, high = (np.array([getattr(s, part) if s else np.nan for s in losses]) for part in ("low", "middle", "high"))
        axes[0].fill_between(at, low, high, color=theme.run_look(0).colour, alpha=0.2, lw=0)
        axes[0].plot(at, mid, **theme.run_look(0).line())
        edge = 2 / sharpness(NETWORK, "seed=0")
        axes[0].axvline(edge, color=theme.REFERENCE, ls="--", lw=1.0)
        axes[0].text(edge / 1.3, 300, "2 / sharpness\nat the start", ha="right", va="top", size=8, color=theme.QUIET)
        logarithmic(axes[0], "x", 5e-6, 20, 4)
        logarithmic(axes[0], "y", 1e-3, 1e3)
        titled(axes[0], "The network: crawls, learns, diverges", "learning rate", "loss after the same steps")
        for i, (rate, run) in enumerate(flows.items()):
            loss = series(run, "loss")
            every = max(len(loss.steps) // 6, 1)
            axes[1].plot(
                loss.steps * rate,
                loss.values,
                label=f"rate {rate:g}",
                markevery=(i * every // 3, every),
                **theme.run_look(i).line(),
            )
        logarithmic(axes[1], "y", 1e-2, 5.0)
        titled(axes[1], "A small one takes the same way", "learning rate x steps", "loss")
        axes[1].legend(loc="upper right")
        x = np.linspace(-2.2, 4.2, 300)
        axes[2].plot(x, [surface.height(at) for at in x], color=theme.REFERENCE)
        for i, rate in enumerate((STUCK, FREE)):
            places = surface.descend(rate)[:: 20 if rate == STUCK else 1][:40]
            axes[2].plot(places, [surface.height(x) for x in places], label=f"rate {rate:g}", **theme.run_look(i).line())
        titled(axes[2], "A surface that has a trap", "the only weight", "loss", ylim=(-0.1, 2.0))
        axes[2].legend(loc="upper right")

    reading = (
        "On the left six decades of rates, with the range over the starts. In the middle the network: a small rate goes the "
        "same way, more slowly. On the right one weight and a narrow minimum: here a small rate does stick."
    )
    return drawn(TITLE, reading, 3, draw)
