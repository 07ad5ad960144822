"""Batch size against generalisation: the gradient's noise, and accuracy on rows kept aside under three ways to compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.training.build import build
from gradscope.training.config import load_config
from scripts.experiments import Number, Result, drawn, logarithmic, swept, titled

TITLE = "Batch size and generalisation"
HERE = Path(__file__).parent
WAYS = {
    "same passes": "same-passes.yaml",
    "same steps": "same-steps.yaml",
    "rate in proportion": "scaled-rate.yaml",
}
SMALL, LARGE = 8, 512
ROWS = 899
"""Half of the digits, which are trained on; 898 are kept aside."""
BATCHES = 400
"""Batches of each size from which the noise is estimated."""
CLAIM = "the claim says below 0 (Keskar et al. 2017)"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """What trainings with one batch size end at, each (seeds,)."""

    loss: Floats
    accuracy: Floats


def run(short: bool) -> Result:
    sizes, seeds = ((SMALL, LARGE), 2) if short else ((8, 32, 128, 512), 10)
    share = 0.08 if short else 1.0
    ends = {way: trained(HERE / sweep, share, sizes, seeds) for way, sweep in WAYS.items()}
    rows, noise = noises()
    per_row = "S (N - B) / (B (N - 1)), drawn without replacement from N rows"
    within = 3 * math.sqrt(2 / BATCHES)
    numbers = (
        *(
            Number.near(
                f"variance of the gradient of {one} rows over that of {other}", noise[one] / noise[other],
                (rows - one) * other / ((rows - other) * one), per_row, within=within,
            )
            for one, other in ((8, 32), (32, 128))
        ),
        Number(
            f"same passes: training loss of {LARGE} rows over that of {SMALL}",
            float(np.mean(ends["same passes"][LARGE].loss) / np.mean(ends["same passes"][SMALL].loss)), 1.0, np.inf,
            f"{LARGE // SMALL} times fewer steps",
        ),
        *(number for way, found in ends.items() for number in compared(way, found)),
    )  # fmt: skip
    return Result(numbers, figure(rows, noise, ends))


def compared(way: str, found: Mapping[int, Ends]) -> tuple[Number, Number]:
    """The accuracy of large less small batches, seed by seed, and the same in standard errors."""
    apart = found[LARGE].accuracy - found[SMALL].accuracy
    error = float(apart.std(ddof=1)) / math.sqrt(len(apart))
    what = f"{way}: validation accuracy of {LARGE} rows less that of {SMALL}"
    return Number.open(what, float(apart.mean()), CLAIM), Number.open(
        f"{way}: in standard errors", float(apart.mean()) / error, CLAIM
    )


def trained(sweep: Path, share: float, sizes: Sequence[int], seeds: int) -> dict[int, Ends]:
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    for at, one in swept(sweep, share, batch_size=sizes, seed=range(seeds)):
        found[int(at["batch_size"] or 0)].append(end(one, int(at["batch_size"] or 0)))
    return {size: Ends(*np.array(values).T) for size, values in found.items()}


def end(run: Run, size: int) -> tuple[float, float]:
    """Training loss over the last pass, and accuracy on the rows kept aside, after the last step."""
    loss, accuracy = series(run, "loss").values, series(run, "validation_accuracy")
    return float(loss[-(ROWS // size) :].mean()), float(accuracy.values[accuracy.present][-1])


def noises() -> tuple[int, dict[int, float]]:
    """The rows there are, and by batch size the mean square distance of a batch's gradient from that of all rows."""
    setup = build(load_config(HERE / "config.yaml"))
    x, y = setup.data.train.x, setup.data.train.y
    parameters = {name: p.detach() for name, p in setup.model.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], row: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return setup.loss(torch.func.functional_call(setup.model, weights, (row[None],)), label[None])

    by_row = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    gradients = torch.cat([g.flatten(1) for g in by_row.values()], dim=1)
    apart = gradients - gradients.mean(0)
    products, draw, found = apart @ apart.T, torch.Generator().manual_seed(0), {}
    for size in (8, 32, 128, 512):
        chosen = torch.zeros(BATCHES, len(x))
        for batch in chosen:
            batch[torch.randperm(len(x), generator=draw)[:size]] = 1 / size
        found[size] = float(((chosen @ products) * chosen).sum(1).mean())
    return len(x), found


def figure(rows: int, noise: dict[int, float], ends: dict[str, dict[int, Ends]]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        sizes = np.array(list(noise))
        line = np.geomspace(sizes[0], sizes[-1], 50)
        spread = noise[8] * 8 * (rows - 1) / (rows - 8)
        axes[0].plot(line, spread * (rows - line) / (line * (rows - 1)), color=theme.REFERENCE, lw=1.0, ls="--", label="theory")
        axes[0].plot(sizes, list(noise.values()), label="measured", **(theme.run_look(0).line() | {"linestyle": "none"}))
        logarithmic(axes[0], "y", min(noise.values()) / 3, max(noise.values()) * 3)
        titled(axes[0], "Noise at the start", "rows in a batch", "variance of a batch's gradient")
        axes[0].legend(loc="upper right")
        for i, (way, found) in enumerate(ends.items()):
            look = theme.run_look(i)
            shift = 1.06 ** (i - 1)  # so that error bars stand beside each other
            at = np.array(list(found)) * shift
            wrong = [1.0 - e.accuracy for e in found.values()]
            errors = [w.std(ddof=1) / math.sqrt(len(w)) for w in wrong]
            axes[1].errorbar(at, [w.mean() for w in wrong], errors, color=look.colour, capsize=2, lw=1.0, ls="none")
            axes[1].plot(at, [w.mean() for w in wrong], label=way, **look.line())
            axes[2].plot(at, [e.loss.mean() for e in found.values()], **look.line())
        titled(axes[1], "Validation error", "rows in a batch", "share of the kept rows classified wrong", ylim=(0.0, None))
        axes[1].legend(loc="upper left", fontsize=7)
        logarithmic(axes[2], "y", 1e-3, 1.0)
        titled(axes[2], "Training loss", "rows in a batch", "loss over the last pass")
        for panel in axes:
            logarithmic(panel, "x", 6.0, 700.0)

    reading = (
        "The noise of a batch falls as theory has it. With the same passes over the data a large batch is worse (bars: "
        "standard errors over seeds), and on the right why: it has not learned yet. With as many steps next to nothing is left "
        "of that."
    )
    return drawn(TITLE, reading, 3, draw)
