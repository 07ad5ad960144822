"""Why a gradient falls or grows through time: what one time step passes back, beside the gain of the recurrent weights."""

from __future__ import annotations

import math

from gradscope.numbers import number
from gradscope.record.run import Run

KEPT = 0.1
"""Share of the gradient that a sequence would have to leave for its beginning to be learned from."""
ALL = 0.95
"""Share of the weights' gain from which on the slopes take nothing worth a word."""
PLAIN = ("RNN", "RNNCell")
"""Cells without gates, where a step is the weights and the activation's slopes and nothing else."""


def blame_in_time(run: Run, layer: str, ratio: float, lag: int, step: int) -> str | None:
    """In a sentence; ``ratio`` is what is left of the gradient over ``lag`` time steps. None where there is no such factor."""
    if lag < 1 or not (math.isfinite(ratio) and ratio > 0.0):
        return None
    factor = ratio ** (1.0 / lag)
    told = f"a time step passes back {number(factor, 2)} of the gradient"
    kind = next((info.kind for info in run.catalogue.layers if info.name == layer), "")
    if kind in PLAIN:
        gain = _gain(run, layer, step)
        if gain is None:
            return told
        slopes = factor / gain
        rest = f", and the activation's slopes leave {number(slopes, 2)} of that" if slopes < ALL else ""
        return f"{told}: the recurrent weights have a gain of {number(gain, 2)}{rest}"
    if ratio < 1.0 and kind in ("LSTM", "GRU", "LSTMCell", "GRUCell"):
        return f"{told}; a gate that keeps {number(KEPT ** (1.0 / lag), 2)} of the state would leave a tenth over {lag} steps"
    return told


def _gain(run: Run, layer: str, step: int) -> float | None:
    """Root mean square gain of the matrices from state to state: |W| over the root of the number of its rows."""
    matrices = [p for p in run.catalogue.parameters if p.layer == layer and "weight_hh" in p.name]
    norms = run.at("parameters", "weight_norm", step)
    squares = []
    for p in matrices:
        at = norms.entities.index((p.name, 0)) if (p.name, 0) in norms.entities and len(norms.steps) else None
        if at is None or not norms.present[0, at]:
            return None
        squares.append(float(norms.values[0, at]) ** 2 / p.shape[0])
    return math.sqrt(sum(squares) / len(squares)) if squares and min(squares) > 0.0 else None
