"""He's initialisation against Xavier's under ReLU: a stall that the weights' gradients do not show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.signals.profiles import parameter_profile
from gradscope.signals.ratios import backward_gain, geometric_mean, hidden_backward_ratio
from scripts.experiments import Number, Result, codes, drawn, logarithmic, titled, trained

TITLE = "He against Xavier under ReLU"
CONFIG = Path(__file__).parent / "config.yaml"
SCHEMES = {"Xavier": [], "He": ["model.init={scheme: kaiming_normal, gain: auto}"]}
GUESSING = math.log(10)
"""The loss of a tenth for each of ten classes, whatever the row."""


def run(short: bool) -> Result:
    seeds, steps = ((0,), 300) if short else ((0, 1, 2), 400)
    all_runs = {
        name: [trained(CONFIG, *more, f"training.steps={steps}", f"seed={seed}") for seed in seeds]
        for name, more in SCHEMES.items()
    }
    runs = {name: found[0] for name, found in all_runs.items()}
    gain = {name: typical(run) for name, run in runs.items()}
    end = {name: float(hidden_backward_ratio(run).values[0, 0]) for name, run in runs.items()}
    flat = {name: spread(run) for name, run in runs.items()}
    loss = {name: [float(np.median(series(run, "loss").values[-10:])) for run in found] for name, found in all_runs.items()}
    over = "" if short else ", the {} of three seeds"
    spread_of_gain = "five times the spread over eight seeds, 1.2 %"
    numbers = (
        Number.near(
            "Xavier: gain per layer", gain["Xavier"], math.sqrt(0.5),
            f"sqrt(1/2) under ReLU (He et al. 2015); {spread_of_gain}", within=0.06,
        ),
        Number.near("He: gain per layer", gain["He"], 1.0, f"1 under ReLU (He et al. 2015); {spread_of_gain}", within=0.06),
        Number(
            "Xavier: gradient of the first layer over the last hidden", end["Xavier"], 0.5**14 / 5, 0.5**14 * 5,
            "sqrt(1/2) to the 28th, 6.1e-5; a factor of 5: five times the spread of the logarithm over eight seeds",
        ),
        Number(
            "Xavier: largest over smallest weight gradient, hidden layers", flat["Xavier"], 1.0, 5.0,
            "equal at any scale; limit: above the 1.9 to 2.9 of eight seeds",
        ),
        Number(
            f"Xavier: loss at the end{over.format('least')}", min(loss["Xavier"]), 0.99 * GUESSING, 1.01 * GUESSING,
            "ln 10, guessing, to a hundredth of it: nothing learned",
        ),
        Number(
            f"He: loss at the end{over.format('largest')}", max(loss["He"]), 0.0, 0.5 * GUESSING,
            "half of ln 10: it learns",
        ),
        Number("rules that call Xavier vanishing", float("GS101" in codes(runs["Xavier"])), 1.0, 1.0, "GS101"),
        Number("rules that call He vanishing", float("GS101" in codes(runs["He"])), 0.0, 0.0, "GS101"),
    )  # fmt: skip
    return Result(numbers, figure(runs))


def typical(run: Run) -> float:
    found = geometric_mean(backward_gain(run).values[0, 1:-1])
    assert found is not None
    return found


def spread(run: Run) -> float:
    """Largest over smallest norm of the hidden layers' weight gradients at step 0; the first and the last have other shapes."""
    norms = parameter_profile(run).values[0, 1:-1]
    return float(norms.max() / norms.min())


def figure(runs: dict[str, Run]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        shown = {"gradient that flows back": hidden_backward_ratio, "gradient of the weights": parameter_profile}
        for panel, (title, of) in zip(axes, shown.items(), strict=False):
            for i, (name, run) in enumerate(runs.items()):
                values = of(run).values[0]
                panel.plot(
                    np.arange(1, len(values) + 1), values / values[-1], label=name, markevery=4, **theme.run_look(i).line()
                )
            logarithmic(panel, "y", 1e-6, 1e2)
            titled(panel, title, "layer, from input to output", "relative to the last")
        for i, (name, run) in enumerate(runs.items()):
            loss = series(run, "loss")
            axes[2].plot(
                loss.steps, loss.values, label=name, markevery=max(len(loss.steps) // 6, 1), **theme.run_look(i).line()
            )
        titled(axes[2], "loss", "training step", "loss", ylim=(0.0, 3.0))
        axes[2].legend(loc="lower left")

    reading = (
        "Both pictures are of the first step. What flows back falls by 4 decades under Xavier; the weights' gradients are "
        "level, because the signal that they are multiplied with falls the other way. Only the first tells why the loss stands."
    )
    return drawn(TITLE, reading, 3, draw)
