"""Plain, LSTM and GRU cells on the adding problem: the gradient at each time step, before training and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradscope.probe.recurrence import TimeProbe
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.signals.through_time import TimeProfile, time_ratio
from scripts.experiments import Number, Result, drawn, logarithmic, probed, titled, trained

TITLE = "Through time: plain cell, LSTM, GRU"
CONFIG = Path(__file__).parent / "config.yaml"
CELLS: Mapping[str, Sequence[str]] = {
    "tanh": ["model.cell=tanh"],
    "LSTM": ["model.cell=lstm", "model.forget_bias=1"],
    "GRU": ["model.cell=gru"],
}
SHORT = ("data.length=30", "data.points=1000", "data.batch_size=32", "training.steps=200")
GUESSING = 1 / 6
"""Mean squared error of always saying 1: the variance of the sum of two numbers between 0 and 1."""


def run(short: bool) -> Result:
    seeds, less = ((0,), SHORT) if short else ((0, 1, 2), ())
    cells = {name: options for name, options in CELLS.items() if name != "LSTM" or not short}
    untrained = {name: untrained_step(*options) for name, options in CELLS.items()}
    slow = untrained_step("model.recurrence.spectral_radius=0.9")
    runs = {
        name: [trained(CONFIG, *options, *less, f"seed={seed}") for seed in seeds] for name, options in cells.items()
    }  # fmt: skip
    error = {name: [validation(run) for run in of] for name, of in runs.items()}
    before = {name: [reaching(run, 0) for run in of] for name, of in runs.items()}
    after = {name: [reaching(run, -1) for run in of] for name, of in runs.items()}
    over = "" if short else " of three seeds"
    gated = [name for name in cells if name != "tanh"]
    numbers = (
        *(
            Number.near(
                f"{name}, untrained: factor of the gradient per time step", found.factor or np.nan, found.predicted or np.nan,
                "mean-field theory of the cell", within=0.05,
            )
            for name, found in untrained.items()
        ),
        Number(
            "tanh, recurrent weights of 0.9: the same", slow.factor or np.nan, 0.0, 0.9,
            "largest singular value times steepest slope (Pascanu et al. 2013)",
        ),
        Number(
            f"tanh: mean squared error, the least{over}", min(error["tanh"]), GUESSING / 2, 1.5 * GUESSING,
            "1/6 is guessing; half of it is nothing learned",
        ),
        *(
            Number(
                f"{name}: mean squared error, the largest{over}", max(error[name]), 0.0, GUESSING / 10, "a tenth of guessing"
            )
            for name in gated
        ),
        Number(
            f"GRU, untrained: share of the gradient that reaches the first time step, over tanh's, the largest{over}",
            max(g / t for g, t in zip(before["GRU"], before["tanh"], strict=True)), 0.0, 0.1,
            "the factors above, to the length",
        ),
        *(
            Number(
                f"{name}, trained: share of the gradient that reaches the first time step, the least{over}", min(after[name]),
                0.01, np.inf, "above what GS101 calls vanishing",
            )
            for name in gated
        ),
        Number(
            f"tanh, trained: the same over GRU's, the largest{over}",
            max(t / g for g, t in zip(after["GRU"], after["tanh"], strict=True)), 0.0, 0.1, "it does not learn to remember",
        ),
    )  # fmt: skip
    return Result(numbers, figure({name: of[0] for name, of in runs.items()}))


def untrained_step(*options: str) -> TimeProbe:
    """What ``gradscope probe`` says of a recurrent layer, wide enough for chance to be small."""
    (found,) = probed(CONFIG, "model.width=256", *options).through_time
    return found


def profile(run: Run) -> TimeProfile:
    (found,) = time_ratio(run)
    return found


def reaching(run: Run, at: int) -> float:
    """The share of the last time step's gradient that reaches the first one, at one of the recorded training steps."""
    return float(profile(run).values[at, 0])


def validation(run: Run) -> float:
    return float(series(run, "validation_loss").measured.values[-1])


def figure(runs: Mapping[str, Run]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        for i, (name, run) in enumerate(runs.items()):
            found = profile(run)
            look = theme.run_look(i).line(label=name, markevery=5)
            axes[0].plot(found.times + 1, found.values[0], **look)
            axes[1].plot(found.times + 1, found.values[-1], **look)
            loss = series(run, "loss")
            mean = np.convolve(loss.values, np.full(10, 0.1), "valid")
            axes[2].plot(loss.steps[9:], mean, **theme.run_look(i).line(label=name, markevery=max(len(mean) // 6, 1)))
        for panel, title in zip(axes, ("Untrained", "Trained"), strict=False):
            logarithmic(panel, "y", 1e-6, 10.0)
            titled(panel, title, "time step", "gradient, relative to the last time step's")
        axes[0].legend(loc="lower right")
        axes[2].axhline(GUESSING, color=theme.REFERENCE, lw=0.8, ls="--")
        axes[2].text(len(loss.steps), GUESSING - 0.012, "guessing", ha="right", va="top", color=theme.QUIET, size=8)
        titled(axes[2], "The adding problem", "training step", "squared error, mean of ten steps", ylim=(0.0, 0.3))

    reading = (
        "On the left how much of the last time step's gradient reaches each earlier one, before training: the GRU keeps least. "
        "In the middle after training: gates have learned to keep it. On the right what this is worth."
    )
    return drawn(TITLE, reading, 3, draw)
