"""Sigmoid networks by depth: the gradient is a product of one factor per layer, and theory knows the factor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradscope.probe import Probe
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.signals.ratios import update_ratio
from scripts.experiments import Number, Result, codes, drawn, logarithmic, probed, titled, trained, typical_gains

TITLE = "Vanishing gradients by depth"
CONFIG = Path(__file__).parent / "config.yaml"
DEEPEST = 30


def run(short: bool) -> Result:
    depths = (2, 6, 20) if short else (2, 4, 6, 8, 10, 15, 20, 30)
    untrained = probed(CONFIG, f"model.depth={DEEPEST}")
    measured, predicted = typical_gains(untrained.layers[1:-1])
    logs = np.log([layer.ratio for layer in untrained.layers[:-1]])
    runs = {depth: trained(CONFIG, f"model.depth={depth}", f"training.steps={steps(short)}") for depth in depths}
    accuracy = {depth: float(series(run, "accuracy").values[-10:].mean()) for depth, run in runs.items()}
    moved = np.median(update_ratio(by_gradient_descent()).values[1:], axis=0)
    numbers = (
        Number.near("factor of the gradient per layer, depth 30", measured, predicted, "mean-field theory", within=0.03),
        Number("correlation of log gradient with depth, squared", linearity(logs), 0.99, 1.0, "a product of like factors"),
        Number("accuracy at depth 2", accuracy[2], 0.9, 1.0, "shallow sigmoid networks learn"),
        Number("accuracy at depth 20", accuracy[20], 0.0, 0.3, "no gradient reaches the early layers"),
        Number(
            "depth 10, plain gradient descent: update over weight of the first layer, against the last",
            moved[0] / moved[-1], 0.0, 1e-3, "early layers stall",
        ),
        Number("rules that call depth 20 vanishing", float("GS101" in codes(runs[20])), 1.0, 1.0, "GS101"),
        Number("rules that call depth 2 vanishing", float("GS101" in codes(runs[2])), 0.0, 0.0, "GS101"),
    )  # fmt: skip
    return Result(numbers, figure(untrained, accuracy))


def steps(short: bool) -> int:
    return 120 if short else 300


def by_gradient_descent() -> Run:
    """Depth 10 under plain gradient descent, whose updates are as small as the gradients are."""
    plain = ["optimizer={name: sgd, lr: 0.05, momentum: 0.0}", "training.steps=30"]
    return trained(CONFIG, "model.depth=10", *plain)


def linearity(logs: np.ndarray) -> float:
    return float(np.corrcoef(np.arange(len(logs)), logs)[0, 1] ** 2)


def figure(untrained: Probe, accuracy: dict[int, float]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        ratios = [layer.ratio or np.nan for layer in untrained.layers]
        theory = [layer.predicted.ratio if layer.predicted else np.nan for layer in untrained.layers]
        at = np.arange(1, len(ratios) + 1)
        axes[0].plot(at, theory, label="theory", markevery=30, **theme.run_look(1).line())
        axes[0].plot(at, ratios, label="measured", **(theme.run_look(0).line() | {"linestyle": "none"}))
        logarithmic(axes[0], "y", min(ratios) / 5, 5.0)
        titled(axes[0], "Thirty sigmoid layers, untrained", "layer, from input to output", "gradient, relative to the output's")
        axes[0].legend(loc="lower right")
        axes[1].plot(list(accuracy), list(accuracy.values()), **theme.run_look(0).line())
        axes[1].axhline(0.1, color=theme.REFERENCE, lw=0.8, ls="--")
        axes[1].text(max(accuracy), 0.115, "guessing", ha="right", va="bottom", color=theme.QUIET, size=8)
        titled(axes[1], "What each depth learns", "depth", "share of the rows classified right", ylim=(0.0, 1.02))

    reading = (
        "On the left a straight line on a logarithmic scale: every layer passes back the same share of what it gets. On the "
        "right what it costs: beyond a few layers nothing is learned."
    )
    return drawn(TITLE, reading, 2, draw)
