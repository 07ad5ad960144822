"""What holds a layer's pre-activations where its activation is flat: biases, or weights of a larger gain than their input."""

from __future__ import annotations

import math

from gradscope.numbers import number
from gradscope.record.manifest import ParameterInfo
from gradscope.record.run import Run

HALF = 0.5
"""Share of the pre-activations' mean square that makes biases the reason: a majority."""


def held_by(run: Run, activation: str, step: int) -> str | None:
    """In words, for an activation (or the layer that one called as a function follows) at a step; None where nothing tells."""
    layers = run.catalogue.layers
    place = next((i for i, info in enumerate(layers) if info.name == activation), None)
    if place is None:
        return None
    source = layers[place] if layers[place].parameters else layers[place - 1] if place else None
    if source is None or not source.kind.startswith(("Linear", "Conv")):
        return None
    mean, std = (_value(run, "layers", column, source.name, step) for column in ("forward_mean", "forward_std"))
    owned = [p for p in run.catalogue.parameters if p.layer == source.name]
    scale = {p.is_matrix: size for p in owned if (size := _rms(run, p, step)) is not None}
    if mean is None or std is None or not math.isfinite(mean + std):
        return None
    length = math.hypot(mean, std)
    if layers[place].activation == "one-sided" and mean > -std:
        return None  # not far below 0: these units are dead for another reason
    bias, gain = scale.get(False, 0.0), scale.get(True)
    at = f"{number(mean, 2)} on average" if abs(mean) > std else f"{number(length, 2)} in root mean square"
    if bias**2 > HALF * length**2:
        return f"the biases of {source.name}, {number(bias, 2)} in root mean square, hold what reaches it at {at}"
    if gain and gain**2 > math.sqrt(max(length**2 - bias**2, 0.0)):
        return f"weights of gain {number(gain, 2)}, those of {source.name}, drive what reaches it to {at}"
    return f"what reaches it from {source.name} lies at {at}"


def _rms(run: Run, parameter: ParameterInfo, step: int) -> float | None:
    """Root mean square of a bias; of a matrix its gain, the norm over the root of the number of outputs."""
    norm = _value(run, "parameters", "weight_norm", parameter.name, step)
    return None if norm is None else norm / math.sqrt(parameter.shape[0])


def _value(run: Run, table: str, column: str, name: str, step: int) -> float | None:
    grid = run.at(table, column, step)
    if not len(grid.steps) or (name, 0) not in grid.entities:
        return None
    at = grid.entities.index((name, 0))
    return float(grid.values[0, at]) if grid.present[0, at] else None
