"""Standardise the inputs: subtract the mean, divide by the standard deviation.

Inputs far from unit scale drive the first layer to its ends, or leave it next to nothing; the data sets of a config are
standardised already.

Source: LeCun, Bottou, Orr & Mueller 1998, section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal

ANSWERS = ("unscaled-input", "saturated-activations")
COST = 0
TORCH = """
x = (x - train.mean(0)) / train.std(0).clamp(min=1e-6)
"""


def propose(case: Case) -> Iterator[Proposal]:
    yield from ()
