"""What a recorded number is, beside its size: absent, exactly zero, below float32's range, infinite or NaN."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from gradscope.record.grid import Bools, Floats

SMALLEST_NORMAL = float(np.finfo(np.float32).smallest_normal)
"""1.18e-38: below it float32 loses digits one by one, down to nothing at 1.4e-45."""

States = NDArray[np.uint8]


class State(IntEnum):
    """Ordered by how much a reader must not miss it: where many values share one place, the highest state is shown."""

    ABSENT = 0
    FINITE = 1
    UNDERFLOW = 2
    ZERO = 3
    INF = 4
    NAN = 5

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    State.ABSENT: "not recorded",
    State.FINITE: "finite",
    State.UNDERFLOW: "underflow below 1.2e-38",
    State.ZERO: "exactly 0",
    State.INF: "infinite",
    State.NAN: "NaN",
}


def states(values: Floats, present: Bools) -> States:
    """The ``State`` of each value, same shape, uint8."""
    size = np.abs(values)
    found = np.full(values.shape, State.FINITE, np.uint8)
    found[size < SMALLEST_NORMAL] = State.UNDERFLOW
    found[size == 0.0] = State.ZERO
    found[np.isinf(size)] = State.INF
    found[np.isnan(size)] = State.NAN
    found[~present] = State.ABSENT
    return found
