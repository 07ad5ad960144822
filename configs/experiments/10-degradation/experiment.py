"""Degradation: plain nets of growing depth fit their training data worse, residual nets do not; at each depth's best rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.signals.ratios import hidden_backward_ratio
from scripts.experiments import Number, Result, codes, drawn, logarithmic, swept, titled

TITLE = "Degradation by depth"
SWEEP = Path(__file__).parent / "sweep.yaml"
SHALLOW, DEEP = 4, 40
EPOCH = 12
"""Steps over which the training error is a mean: one pass over the 1,438 rows."""
KINDS = {False: "plain", True: "residual"}

Floats = NDArray[np.float64]
Ends = dict[tuple[bool, int], Floats]
"""Residual or not, depth -> a number for each seed, at the better learning rate."""


def run(short: bool) -> Result:
    only = {"depth": (SHALLOW, DEEP), "lr": (0.1,), "seed": (0,)} if short else {}
    runs: dict[tuple[bool, int], dict[float, list[Run]]] = {}
    for at, one in swept(SWEEP, 0.6 if short else 1.0, **only):
        runs.setdefault((bool(at["residual"]), int(at["depth"])), {}).setdefault(float(at["lr"]), []).append(one)
    loss = {net: best([[last(one, "loss") for one in seeds] for seeds in rates.values()]) for net, rates in runs.items()}
    error = {
        net: best([[1.0 - last(one, "accuracy") for one in seeds] for seeds in rates.values()]) for net, rates in runs.items()
    }
    deepest = next(iter(runs[False, DEEP].values()))[0]
    growth = float(hidden_backward_ratio(deepest).values[0, 0])
    numbers = (
        Number(
            f"plain: training loss of {DEEP} layers over that of {SHALLOW}", over(loss, False), 1.0, np.inf,
            "deeper is worse (He et al. 2016)",
        ),
        Number("residual: the same", over(loss, True), 0.0, 1.0, "deeper is no worse (He et al. 2016)"),
        Number(
            f"share of seeds in which {DEEP} plain layers are worse than {SHALLOW}",
            float(np.mean(loss[False, DEEP] > loss[False, SHALLOW])), 1.0, 1.0, "as above",
        ),
        Number(
            f"share of seeds in which {DEEP} layers are worse plain than residual",
            float(np.mean(loss[False, DEEP] > loss[True, DEEP])), 1.0, 1.0, "as above",
        ),
        Number(
            f"plain, {DEEP} layers, untrained: gradient of the first layer over the last hidden one's", growth, 1.0, np.inf,
            "it does not vanish (He et al. 2016, section 4.1)",
        ),
        Number("rules that call them vanishing", float("GS101" in codes(deepest)), 0.0, 0.0, "GS101"),
    )  # fmt: skip
    return Result(numbers, figure(error, loss))


def last(run: Run, column: str) -> float:
    """The mean over the last pass over the data."""
    return float(series(run, column).values[-EPOCH:].mean())


def best(rates: list[list[float]]) -> Floats:
    """The numbers of all seeds at the learning rate at which their mean is least."""
    return np.array(min(rates, key=lambda seeds: float(np.mean(seeds))))


def mean(ends: Ends, residual: bool, depth: int) -> float:
    return float(ends[residual, depth].mean())


def over(ends: Ends, residual: bool) -> float:
    """The deepest nets' mean over that of the shallowest."""
    return mean(ends, residual, DEEP) / mean(ends, residual, SHALLOW)


def figure(error: Ends, loss: Ends) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        for panel, ends in zip(axes, (error, loss), strict=True):
            for i, (residual, name) in enumerate(KINDS.items()):
                depths = [depth for kind, depth in ends if kind == residual]
                look = theme.run_look(i)
                panel.plot(depths, [mean(ends, residual, depth) for depth in depths], label=name, **look.line())
                for depth in depths:
                    seeds = ends[residual, depth]
                    panel.plot([depth] * len(seeds), seeds, ls="none", marker=".", ms=4, color=look.colour, alpha=0.5)
        titled(axes[0], "Training error", "depth", "share of the training rows classified wrong", ylim=(-0.02, 1.0))
        logarithmic(axes[1], "y", 5e-4, 5.0)
        titled(axes[1], "Training loss", "depth", "training loss")
        axes[0].legend(loc="upper left")

    reading = (
        "Both are of the rows that were trained on, over the last pass, at each depth's better learning rate; dots are seeds. "
        "More plain layers fit worse; more residual blocks do not."
    )
    return drawn(TITLE, reading, 2, draw)
