"""Where numbers stopped being finite: which layer, and in which direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.run import Run


@dataclass(frozen=True)
class Origin:
    """``place`` is ``forward``, ``loss``, ``backward`` or ``unknown``; ``layers`` where it began, ``words`` a sentence."""

    place: str
    layers: tuple[str, ...]
    words: str


def origin(run: Run, step: int, *, loss_is_finite: bool) -> Origin:
    """From the record of the layers at ``step``, the first whose loss or gradient was not finite."""
    forward, backward = run.at("layers", "forward_norm", step), run.at("layers", "backward_norm", step)
    if not len(forward.steps):
        return Origin("unknown", (), "No layer was recorded at that step, so where it began is not known.")
    ahead = forward.present[0] & ~np.isfinite(forward.values[0])
    if ahead.any():
        name = forward.names[int(np.flatnonzero(ahead)[0])]
        return Origin(
            "forward", (name,), f"It began in the forward pass: {name} is the first layer whose output is not finite."
        )
    if not loss_is_finite:
        return Origin("loss", (), "Every layer's output is finite: it began in the loss function.")
    back = backward.present[0] & ~np.isfinite(backward.values[0])
    if back.any():
        name = backward.names[int(np.flatnonzero(back)[-1])]
        return Origin(
            "backward", (name,), f"The forward pass is finite: it began in the backward pass, behind the output of {name}."
        )
    return Origin("unknown", (), "Every layer is finite in both directions: it began in a parameter's own gradient.")
