"""The size of gradients as float16 sees them: with the loss scale, entry by entry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradscope.record.run import Run
from gradscope.signals.events import series
from gradscope.signals.profiles import Profile, layer_profile


def scaled_entries(run: Run) -> Profile:
    """Root mean square of the entries of the scaled dL/d(output) at each float16 station.

    The number of entries is taken as rows times units; of an image, which has more, the true value is smaller. Values are
    present where the loss is not 0: a loss of nothing has no gradient.
    """
    halves = [i for i in run.catalogue.layers if i.dtype == "float16" and i.width]
    norms, rows = (layer_profile(run, column, [i.name for i in halves]) for column in ("backward_norm", "rows"))
    widths = np.array([float(i.width or 1) for i in halves if i.name in norms.layers])
    scale = series(run, "loss_scale")
    known = scale.present & np.isfinite(scale.values)
    at = np.interp(norms.steps, scale.steps[known], scale.values[known]) if known.any() else np.ones(len(norms.steps))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = norms.values * at[:, None] / np.sqrt(rows.values * widths)
    loss = series(run, "loss")
    asked = np.isin(norms.steps, loss.steps[loss.present & (loss.values != 0.0)])
    present = norms.present & rows.present & np.isfinite(values) & asked[:, None]
    return replace(norms, signal="scaled_entries", values=values, present=present)
