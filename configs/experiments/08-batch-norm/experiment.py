"""Batch norm in a plain ReLU network: gradients grow by a factor that no initialisation changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from gradscope.probe import probe
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.signals.ratios import backward_gain, geometric_mean, hidden_backward_ratio
from gradscope.theory.activations import find_activation
from gradscope.theory.normalisation import plain_batch_norm_factor
from gradscope.training.build import build
from gradscope.training.config import load_config
from scripts.experiments import Number, Result, codes, drawn, logarithmic, titled, trained

TITLE = "Batch norm in a plain network"
CONFIG = Path(__file__).parent / "config.yaml"
GAINS = (0.5, 1.4142, 8.0)
DEPTH = 24
"""Layers of the untrained nets."""
FIRST = 6
"""Layers at the input that are left out: their inputs are not yet what a deep layer's are."""


def run(short: bool) -> Result:
    width = 128 if short else 1024
    untrained = {gain: probed(gain, width) for gain in GAINS}
    factor = plain_batch_norm_factor(find_activation("relu"), 128)
    measured = {gain: interior(run) ** 2 for gain, run in untrained.items()}
    ends = {gain: end_to_end(run) for gain, run in untrained.items()}
    exact = {gain: end_to_end(probed(gain, 128, eps=1e-12)) for gain in (0.5, 8.0)}
    depths = (6, 60) if short else (3, 6, 12, 20, 30, 45, 60)
    runs = {depth: trained(CONFIG, f"model.depth={depth}", f"training.steps={60 if short else 150}") for depth in depths}
    accuracy = {depth: float(series(run, "accuracy").values[-10:].mean()) for depth, run in runs.items()}
    source = "pi / (pi - 1) as the batch grows (Yang et al. 2019, theorem 8), 1.480 for 128 rows"
    numbers = (
        Number.near("factor of the squared gradient per inner layer", measured[1.4142], factor, source, within=0.04),
        Number.near(
            "end to end, weights of 0.5 against 8", ends[0.5] / ends[8.0], 1.0, "norms undo it, but for their eps",
            within=of_eps(0.5, math.sqrt(factor)),
        ),
        Number.near(
            "the same with an eps of 1e-12, in float64", exact[0.5] / exact[8.0], 1.0, "norms undo it", within=1e-6
        ),
        Number("accuracy at depth 6", accuracy[6], 0.9, 1.0, "0.4 decades of growth do no harm"),
        Number("accuracy at depth 60", accuracy[60], 0.0, accuracy[6] - 0.2, "five decades do"),
        Number("rules that call depth 60 exploding", float("GS102" in codes(runs[60])), 1.0, 1.0, "GS102"),
        Number("rules that call depth 6 exploding", float("GS102" in codes(runs[6])), 0.0, 0.0, "GS102"),
    )  # fmt: skip
    return Result(numbers, figure(untrained, factor, accuracy))


def probed(gain: float, width: int, eps: float | None = None) -> Run:
    """A net whose layers have this scale, but for the head, behind which no norm undoes it: the gradient would begin otherwise.

    With ``eps`` its norms have that one, and everything is in float64.
    """
    options = [f"model.init.gain={gain}", "model.init.layers={head: {gain: 1.4142}}", f"model.width={width}"]
    setup = build(load_config(CONFIG, ["device=cpu", *options, f"model.depth={DEPTH}"]))
    x, y = setup.first_batch()
    if eps is not None:
        setup.model.double()
        x = x.double()
        for norm in setup.model.modules():
            if isinstance(norm, nn.BatchNorm1d):
                norm.eps = eps
    return probe(setup.model, (x, y), setup.loss).run


def of_eps(gain: float, growth: float, eps: float = 1e-5) -> float:
    """The most that torch's eps may change, relative: half of eps over a unit's variance in each layer, and like every
    disturbance each is multiplied by the growth of the layers behind it.
    """
    variance = gain**2 * 0.5 * (1 - 1 / math.pi)  # of W relu(z), less what all rows share, for z of unit variance
    return 0.5 * eps / variance * sum(growth**layer for layer in range(DEPTH))


def end_to_end(run: Run) -> float:
    return float(hidden_backward_ratio(run).values[0, 0])


def interior(run: Run) -> float:
    found = geometric_mean(backward_gain(run).values[0, FIRST:-2])
    assert found is not None
    return found


def figure(untrained: dict[float, Run], factor: float, accuracy: dict[int, float]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        for i, (gain, run) in enumerate(untrained.items()):
            ratio = hidden_backward_ratio(run)
            at = np.arange(1, len(ratio.layers) + 1)
            axes[0].plot(at, ratio.values[0], label=f"weights {gain:.3g} / √fan_in", markevery=3, **theme.run_look(i).line())
        theory = math.sqrt(factor) ** (len(at) - at)
        axes[0].plot(at, theory, color=theme.REFERENCE, ls="--", lw=1.0, label=f"{math.sqrt(factor):.3f} per layer")
        logarithmic(axes[0], "y", 0.5, 10 * float(theory.max()))
        titled(
            axes[0],
            "Untrained, at three scales of the weights",
            "layer, from input to output",
            "gradient, relative to the last hidden layer's",
        )
        axes[0].legend(loc="upper right")
        axes[1].plot(list(accuracy), list(accuracy.values()), **theme.run_look(0).line())
        titled(axes[1], "What each depth learns", "depth", "share of the rows classified right", ylim=(0.0, 1.02))

    reading = (
        "On the left three curves on top of each other: a norm undoes whatever the weights' scale was, and each layer adds the "
        "same factor. On the right: a few layers do not mind, many do."
    )
    return drawn(TITLE, reading, 2, draw)
