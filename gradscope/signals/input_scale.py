"""The scale of the network's inputs, estimated from what its first matrix makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradscope.record.run import Run

PRODUCTS = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d"})
"""Modules whose output is a product of their matrix with the input; an embedding's is not."""


@dataclass(frozen=True)
class InputScale:
    """``scale`` is the root mean square of what enters ``layer``, as it was at ``step``."""

    layer: str
    step: int
    scale: float


def input_scale(run: Run) -> InputScale | None:
    """The root mean square sqrt(n z^2 - ||b||^2) / ||W||, with z that of the output and n its units.

    Exact on average for random weights W and biases b. None where the first module with a matrix is no product, was not
    recorded with its weights, or has biases that outweigh what its inputs do.
    """
    shapes = {p.name: p.shape for p in run.catalogue.parameters if p.is_matrix}
    first = next((i for i in run.catalogue.layers if any(p in shapes for p in i.parameters)), None)
    if first is None or first.kind not in PRODUCTS:
        return None
    weight = next(p for p in first.parameters if p in shapes)
    biases = [p for p in first.parameters if p not in shapes]
    mean, std = _first(run, "layers", "forward_mean", first.name), _first(run, "layers", "forward_std", first.name)
    norm = _first(run, "parameters", "weight_norm", weight)
    bias = math.hypot(*(_first(run, "parameters", "weight_norm", b) for b in biases))
    output = shapes[weight][0] * (mean**2 + std**2)
    if not (norm > 0.0 and math.isfinite(output) and bias**2 < 0.5 * output):
        return None
    step = int(run.series("layers", "forward_std", first.name).steps[0])
    return InputScale(first.name, step, math.sqrt(output - bias**2) / norm)


def _first(run: Run, table: str, column: str, name: str) -> float:
    """The first recorded value of one layer or parameter, at its first call; NaN without any."""
    grid = run.series(table, column, name).only([(name, 0)])
    values = grid.values[grid.present]
    return float(values[0]) if values.size else math.nan
