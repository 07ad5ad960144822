"""Theory's line in a picture of a sweep: what it predicts for each point, and where it sees the edge. No torch here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from gradscope import theory
from gradscope.detect.rules import vanishing_gradients
from gradscope.errors import UnsupportedError, UsageError
from gradscope.sweep.axes import is_number
from gradscope.sweep.table import Row

FACTOR = 1.0 / vanishing_gradients.RATIO.value
"""A gradient that has changed by this much on its way is where the detector's patience ends."""
SIGNALS = ("backward_ratio", "hidden_backward_ratio", "backward_gain")
"""Numbers that theory predicts, at initialisation."""
GAIN, DEPTH = "model.init.gain", "model.depth"


def prediction(row: Row) -> theory.Prediction | None:
    """Theory's word on a point's network as it began; None where it has none: another architecture, weights that are not
    random, or that are not drawn alike in all layers.
    """
    config, network = row.config, row.outcome.network
    model: Mapping[str, Any] = config["model"] if config else {}
    if model.get("kind") != "mlp" or not network.get("sigma_w"):
        return None
    if model["init"]["scheme"] in ("identity", "zeros", "lsuv") or model["init"].get("layers"):
        return None
    try:
        return theory.predict(_layers(model, network), width=int(network["inputs"]), input_length=network["input_length"])
    except (UnsupportedError, UsageError):
        return None


def predicted(row: Row, signal: str) -> float | None:
    """What theory says of ``initial_<signal>`` at a point."""
    found = prediction(row) if signal.startswith("initial_") and signal.removeprefix("initial_") in SIGNALS else None
    if found is None or len(found.stations) < 2:
        return None
    first, last = found.stations[0], found.stations[-2 if signal == "initial_hidden_backward_ratio" else -1]
    if signal == "initial_backward_gain":
        return found.mean_gain()
    return math.exp(max(min(first.log_ratio - last.log_ratio, 700.0), -700.0))


def edge(row: Row, axis: str) -> tuple[float, str] | None:
    """Where along an axis theory sees level gradients end, for a network like this point's, and what it is called.

    Along the gain the one at which gradients of this depth are level; along the depth the number of weight layers at which the
    gradient has changed by ``FACTOR``.
    """
    config, network = row.config, row.outcome.network
    model: Mapping[str, Any] = config["model"] if config else {}
    found = prediction(row) if axis in (GAIN, DEPTH) else None
    if found is None:
        return None
    if axis == DEPTH:
        reach = found.reach(FACTOR)
        return (reach + 1.0, f"theory: the gradient changes {FACTOR:,.0f}-fold") if math.isfinite(reach) else None
    gain = model["init"]["gain"]
    if not is_number(gain) or not gain or model["norm"] != "none" or model["residual"]:
        return None
    try:
        level = theory.level_gain(model["activation"], int(model["depth"]), input_length=network["input_length"])
    except (UnsupportedError, UsageError):
        return None
    return level * gain / network["sigma_w"], "theory: level gradients"


def typical_edge(rows: list[Row], axis: str) -> tuple[float, str] | None:
    """The median of the points' edges; None where theory has none, or they lie too far apart for one line.

    Along the depth the deepest networks tell: in a shallow one the edge is carried on from few layers.
    """
    if axis == DEPTH:
        deepest = max((int(row.config["model"].get("depth", 0)) for row in rows if row.config), default=0)
        rows = [row for row in rows if row.config and row.config["model"].get("depth") == deepest]
    found = [e for row in rows if (e := edge(row, axis)) is not None]
    if not found:
        return None
    values = [value for value, _ in found]
    return (statistics.median(values), found[0][1]) if max(values) <= 1.25 * min(values) else None


def _layers(model: Mapping[str, Any], network: Mapping[str, float]) -> tuple[theory.Layer, ...]:
    residual, norm, depth = model["residual"], model["norm"], int(model["depth"])
    scale = None
    if residual:
        given = residual.get("branch_scale", 1.0) if isinstance(residual, Mapping) else 1.0
        scale = 1.0 / math.sqrt(depth) if isinstance(given, str) else float(given)
    return theory.mlp(
        depth=depth,
        width=int(model["width"]),
        inputs=int(network["inputs"]),
        outputs=int(network["outputs"]),
        activation=model["activation"],
        sigma_w=network["sigma_w"],
        sigma_b=abs(float(model["init"]["bias"])) if model["bias"] else 0.0,
        norm=norm,
        branch_scale=scale,
        dropout=float(model["dropout"]),
        weights="orthogonal" if model["init"]["scheme"] == "orthogonal" else "gaussian",
    )
