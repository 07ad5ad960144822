"""Which factor of the chain rule takes the gradient away, for a report: decades by kind and layer, in frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradscope.record.run import Run
from gradscope.render.report.packing import packed
from gradscope.signals.attribution import KINDS, WORDS, attribution, told
from gradscope.signals.frames import frame_rows

LINKS = 40_000
"""Links x frames that are told: a thousand layers in 40 frames."""


def attributed(run: Run, most: int, names: Callable[[Sequence[str]], list[int]]) -> dict[str, Any] | None:
    """``decades`` (F, L, K) as float32, NaN where a link was not recorded; None for a run without a link."""
    steps, links = told(run)
    measured = steps[links.any(axis=1)]
    if not len(measured):
        return None
    found = attribution(run, measured[frame_rows(len(measured), max(min(most, LINKS // links.shape[1]), 2))])
    decades = found.decades
    kept = [i for i in range(len(KINDS)) if np.nan_to_num(decades[:, :, i]).any()] or [0]
    return {
        "steps": found.steps.tolist(),
        "sources": names(found.sources),
        "names": names(found.layers),
        "kinds": [KINDS[i] for i in kept],
        "words": [WORDS[KINDS[i]] for i in kept],
        "decades": packed(decades[:, :, kept], "f4"),
        "unexplained": [[*names([layer]), why] for layer, why in found.unexplained],
    }
