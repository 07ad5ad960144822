"""He's initialisation against Xavier's under ReLU: a stall that the weights' gradients do not show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradscope.detect.engine import check
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.signals.profiles import parameter_profile
from gradscope.signals.ratios import backward_gain, geometric_mean, hidden_backward_ratio
from scripts.experiments import Number, Result, drawn, logarithmic, trained

TITLE = "He against Xavier under ReLU"
CONFIG = Path(__file__).parent / "config.yaml"
SCHEMES = {"Xavier": [], "He": ["model.init={scheme: kaiming_normal, gain: auto}"]}


def run(short: bool) -> Result:
    runs = {name: trained(CONFIG, *more, f"training.steps={160 if short else 300}") for name, more in SCHEMES.items()}
    gain = {name: typical(run) for name, run in runs.items()}
    end = {name: float(hidden_backward_ratio(run).values[0, 0]) for name, run in runs.items()}
    flat = {name: spread(run) for name, run in runs.items()}
    loss = {name: float(np.median(series(run, "loss").values[-10:])) for name, run in runs.items()}
    numbers = (
        Number.near(
            "Xavier: gain per layer", gain["Xavier"], math.sqrt(0.5), "sqrt(1/2) under ReLU (He et al. 2015)", within=0.06
        ),
        Number.near("He: gain per layer", gain["He"], 1.0, "1 under ReLU (He et al. 2015)", within=0.06),
        Number(
            "Xavier: gradient of the first layer over the last hidden", end["Xavier"], 0.0, 1e-3, "0.707 to the 28th is 6e-5"
        ),
        Number("Xavier: largest over smallest weight gradient, hidden layers", flat["Xavier"], 1.0, 5.0, "equal at any scale"),
        Number("Xavier: loss at the end", loss["Xavier"], 2.29, 2.31, "ln 10 = 2.303, guessing"),
        Number("He: loss at the end", loss["He"], 0.0, 1.5, "it learns"),
        Number("rules that call Xavier vanishing", float("GS101" in codes(runs["Xavier"])), 1.0, 1.0, "GS101"),
        Number("rules that call He vanishing", float("GS101" in codes(runs["He"])), 0.0, 0.0, "GS101"),
    )
    return Result(numbers, figure(runs))


def typical(run: Run) -> float:
    found = geometric_mean(backward_gain(run).values[0, 1:-1])
    assert found is not None
    return found


def spread(run: Run) -> float:
    """Largest over smallest norm of the hidden layers' weight gradients at step 0; the first and the last have other shapes."""
    norms = parameter_profile(run).values[0, 1:-1]
    return float(norms.max() / norms.min())


def codes(run: Run) -> set[str]:
    return {finding.code for finding in check(run).findings}


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
            panel.set(xlabel="layer, from input to output", ylabel="relative to the last")
            panel.set_title(title, loc="left", size=9)
        for i, (name, run) in enumerate(runs.items()):
            loss = series(run, "loss")
            axes[2].plot(
                loss.steps, loss.values, label=name, markevery=max(len(loss.steps) // 6, 1), **theme.run_look(i).line()
            )
        axes[2].set(xlabel="training step", ylabel="loss", ylim=(0.0, 3.0))
        axes[2].set_title("loss", loc="left", size=9)
        axes[2].legend(loc="lower left")

    reading = (
        "Both pictures are of the first step. What flows back falls by 4 decades under Xavier; the weights' gradients are "
        "level, because the signal that they are multiplied with falls the other way. Only the first tells why the loss stands."
    )
    return drawn(TITLE, reading, 3, draw)
