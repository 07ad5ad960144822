"""Pre-norm against post-norm transformers by depth: their gradients before training, and what warm-up is worth to either."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from torch import autograd, nn

from gradscope.render import theme
from gradscope.sweep.table import Table
from gradscope.training.build import build
from gradscope.training.config import load_config
from scripts.experiment_sweeps import swept
from scripts.experiments import Number, Result, drawn, logarithmic, titled

TITLE = "Pre-norm and post-norm transformers"
HERE = Path(__file__).parent
DEPTHS = (2, 6, 12, 24)
LAYERS, FIRST, WARM_UP = "model.layers", "model.norm_first", "schedule.warmup_steps"
WARM = (0, 50)
ROWS = 359
"""Validation rows of the digits, on which accuracies are told."""
ERRORS = 3.0
"""Standard errors that a measured exponent may lie from theory's, and that a difference of accuracies has to reach: that of two
shares of the same rows is the square root of 2 p (1 - p) / rows, the most where p is a half.
"""
SMALL = {"training.steps": 30, "record.every": 30, "model.width": 16, "model.feedforward": 16, "data.batch_size": 32}
SHORT = {"axes": {LAYERS: [12], FIRST: [True, False], WARM_UP: [0]}, "seeds": 1, "set": SMALL}


def run(short: bool) -> Result:
    depths, draws = (DEPTHS[:3], 3) if short else (DEPTHS, 12)
    last = {first: gradients(first, depths, draws) for first in (True, False)}
    slope = {first: exponents(depths, norms) for first, norms in last.items()}
    room = {first: ERRORS * float(found.std(ddof=1)) / math.sqrt(draws) for first, found in slope.items()}
    bounds = sorted(exponent(depths, [-0.5 * math.log(1 + share * layers) for layers in depths]) for share in (0.5, 1.5))
    table = swept(HERE / "depths.yaml", SHORT if short else None, short=short)
    seeds = 1 if short else 3
    chance = ERRORS * math.sqrt(2 * 0.25 / (seeds * ROWS))
    deep = {
        (first, warm): accuracy(table, DEPTHS[2], first, warm) for first in (True, False) for warm in WARM[: 1 if short else 2]
    }
    limit = f"limit: {ERRORS:g} standard errors of {seeds} x {ROWS} rows at most"
    numbers = (
        Number(
            "pre-norm, untrained: exponent of the last layer's gradient in depth", float(slope[True].mean()),
            bounds[0] - room[True], bounds[1] + room[True], "(1 + cL)^-1/2, c from 1/2 to 3/2 (Xiong et al. 2020), and chance",
        ),
        Number(
            "post-norm, untrained: the same", float(slope[False].mean()), -room[False], room[False],
            "0: O(1) in depth (Xiong et al. 2020), and chance",
        ),
        Number(
            "depth 12, no warm-up: accuracy of pre-norm, less post-norm's", float((deep[True, 0] - deep[False, 0]).mean()),
            chance, 1.0, f"pre-norm needs none; {limit}",
        ),
        *(() if short else warmed(deep, chance)),
    )  # fmt: skip
    return Result(numbers, figure(depths, last, table))


def warmed(deep: Mapping[tuple[bool, int], np.ndarray], chance: float) -> tuple[Number, ...]:
    """What warm-up is worth, the same starts with it and without it."""
    return (
        Number(
            "depth 12, post-norm: accuracy with warm-up, less without", float((deep[False, 50] - deep[False, 0]).mean()),
            chance, 1.0, "post-norm needs it; limit as above",
        ),
        Number(
            "depth 12, pre-norm: the same", float((deep[True, 50] - deep[True, 0]).mean()), -1.0, chance,
            "it does not need it; limit as above",
        ),
    )  # fmt: skip


def gradients(first: bool, depths: Sequence[int], draws: int) -> np.ndarray:
    """The norm of the gradient of the last feed-forward network's second matrix, untrained, (draws, depths)."""
    return np.array([[gradient(first, layers, seed) for layers in depths] for seed in range(draws)])


def gradient(first: bool, layers: int, seed: int) -> float:
    options = [f"{LAYERS}={layers}", f"{FIRST}={str(first).lower()}", f"seed={seed}", "model.width=64", "model.feedforward=64"]
    setup = build(load_config(HERE / "config.yaml", ["device=cpu", *options]))
    x, y = setup.first_batch()
    out = setup.model.get_submodule(f"layers.{layers - 1}.feedforward.out")
    assert isinstance(out, nn.Linear)
    (found,) = autograd.grad(setup.loss(setup.model(x), y), [out.weight])
    return float(found.double().norm())


def exponents(depths: Sequence[int], norms: np.ndarray) -> np.ndarray:
    """Of each draw, (draws,)."""
    return np.array([exponent(depths, np.log(row)) for row in norms])


def exponent(depths: Sequence[int], logs: Sequence[float] | np.ndarray) -> float:
    """The slope of a logarithm over that of depth."""
    return float(np.polyfit(np.log(depths), logs, 1)[0])


def accuracy(table: Table, layers: int, first: bool, warm_up: int) -> np.ndarray:
    """Share of the validation rows classified right at the end, one for each seed."""
    place = {LAYERS: layers, FIRST: first, WARM_UP: warm_up}
    rows = [row for row in table.rows if place.items() <= row.at.items()]
    return np.array([row.outcome.numbers["validation_accuracy"] for row in rows], float)


def figure(depths: Sequence[int], last: Mapping[bool, np.ndarray], table: Table) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        for i, first in enumerate((True, False)):
            name = "pre-norm" if first else "post-norm"
            middle = np.exp(np.log(last[first]).mean(axis=0))
            axes[0].plot(depths, middle, label=name, **theme.run_look(i).line())
        scale = np.exp(np.log(last[True]).mean())
        bent = np.array([(1 + layers) ** -0.5 for layers in depths])
        axes[0].plot(
            depths, bent * scale / np.exp(np.log(bent).mean()), color=theme.REFERENCE, ls="--", lw=1.0, label="(1 + L)^-1/2"
        )
        logarithmic(axes[0], "y", 0.1, 20.0)
        titled(axes[0], "Before training", "layers", "gradient of the last layer, untrained")
        axes[0].legend(loc="lower left")
        for panel, warm, title in ((axes[1], 0, "No warm-up"), (axes[2], 50, "Warm-up over half of the steps")):
            for i, first in enumerate((True, False)):
                found = {layers: a for layers in depths if (a := accuracy(table, layers, first, warm)).size}
                if not found:
                    continue
                at, values = list(found), list(found.values())
                panel.fill_between(
                    at, [v.min() for v in values], [v.max() for v in values], color=theme.run_look(i).colour, alpha=0.2
                )
                name = "pre-norm" if first else "post-norm"
                panel.plot(at, [v.mean() for v in values], label=name, **theme.run_look(i).line())
            panel.axhline(0.1, color=theme.REFERENCE, lw=0.8, ls="--")
            titled(panel, title, "layers", "share of the validation rows classified right", ylim=(0.0, 1.02))
        axes[1].legend(loc="lower left")
        for panel in axes:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(FixedLocator(list(depths)))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
            panel.xaxis.set_minor_locator(NullLocator())

    reading = (
        "On the left the gradient that the last layer gets before training: it falls with depth where branches start with a "
        "norm, and does not where the sum is normalised. The others: what each learns in the same steps, over three starts."
    )
    return drawn(TITLE, reading, 3, draw)
