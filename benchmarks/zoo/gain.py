"""The plain gain test, what the rules have to beat: one ratio against fixed limits.

How much of the gradient at the last station reaches the first one says whether the product of the layers' gains vanishes or
explodes. It knows nothing of widths, of recurrence, or of whether the network learned. It is asked at the first recorded step,
where it does best: later, an explosion has left other weights behind.
"""

from __future__ import annotations

from gradscope.record.run import Run
from gradscope.signals.ratios import backward_ratio

from .training import EXPLODING, VANISHING

LIMIT = 100.0
"""A hundredfold change between the ends, either way, as in the rules; anything from 30 to 10,000 scores the same."""


def by_gain(run: Run) -> frozenset[str]:
    """The labels by the ratio of the back-propagated signal between first and last station, in the first recorded step."""
    ratio = backward_ratio(run)
    if not ratio.layers or not ratio.present[:, 0].any():
        return frozenset()
    first = float(ratio.values[ratio.present[:, 0].argmax(), 0])
    if first < 1.0 / LIMIT:
        return frozenset([VANISHING])
    return frozenset([EXPLODING]) if first > LIMIT else frozenset()
