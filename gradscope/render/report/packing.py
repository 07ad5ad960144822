"""Arrays in JSON: bytes in base64, with states in place of what JSON and a logarithm cannot hold."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.record.grid import Floats
from gradscope.signals.events import Series
from gradscope.signals.frames import Frames
from gradscope.signals.reduce import extremes

POINTS = 800
"""Stretches of a series of which the smallest and the largest value are kept: more than a screen has columns for a curve."""


def packed(array: NDArray[Any], kind: str) -> str:
    """The bytes of an array, row by row, little-endian, as ``kind``: ``u1``, ``i4``, ``f4``, ``f8``."""
    return b64encode(np.ascontiguousarray(array, np.dtype(f"<{kind}")).tobytes()).decode()


def logs(values: Floats) -> str:
    """log10 of sizes as float32, NaN where there is no positive, finite one.

    So a norm of 1e-300 keeps four digits; of those that float32 itself can hold, six.
    """
    usable = np.isfinite(values) & (np.where(np.isfinite(values), values, 0.0) > 0.0)
    return packed(np.log10(values, where=usable, out=np.full(values.shape, np.nan)), "f4")


def of_frames(frames: Frames) -> dict[str, Any]:
    """``low``, ``high`` and ``marks`` only where a frame stands for more than one row; bit 7 of a mark is ``falls``."""
    data: dict[str, Any] = {
        "steps": frames.steps.tolist(),
        "values": logs(frames.values),
        "states": packed(frames.states, "u1"),
    }
    if frames.reduced:
        marks = frames.marks | np.where(frames.falls, np.uint8(128), np.uint8(0))
        data |= {
            "until": frames.until.tolist(),
            "low": logs(frames.low),
            "high": logs(frames.high),
            "marks": packed(marks, "u1"),
        }
    return data


def of_series(of: Series) -> dict[str, Any]:
    """The measured steps; of many only those whose values stand out."""
    shown = of.measured
    at = extremes(shown.values, POINTS)
    return {
        "steps": packed(shown.steps[at], "i4"),
        "values": packed(np.where(np.isfinite(shown.values[at]), shown.values[at], np.nan), "f8"),
        "states": packed(shown.states[at], "u1"),
        "recorded": len(shown.steps),
    }
