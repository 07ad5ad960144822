"""The profiles that a report can show: along layers, or along the time steps of a recurrent layer, by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gradscope.record.grid import Bools, Floats, Ints
from gradscope.record.run import Run
from gradscope.signals.activations import dead_share, saturated_share
from gradscope.signals.profiles import Profile, depth_profile, parameter_profile
from gradscope.signals.ratios import (
    backward_gain,
    backward_ratio,
    hidden_backward_ratio,
    noise_floor,
    predicted_backward_ratio,
    update_ratio,
)
from gradscope.signals.through_time import time_ratio

FINER = 3.0
"""The gradient itself gets so many times the frames of the others: it is what the map shows first."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One profile: ``values`` and ``present`` (S, L). ``id`` is the signal as findings name it.

    ``scale`` is ``size``, ``ratio`` (1 is level) or ``share`` (0 to 1); ``axis`` is ``layer`` or ``time step``; ``chance`` (L)
    the factor within which chance alone leaves a ratio, ``theory`` (L) what was predicted of it before training, over that
    of the last layer; ``share`` how finely it is reduced.
    """

    id: str
    title: str
    unit: str
    scale: str
    steps: Ints
    layers: tuple[str, ...]
    values: Floats
    present: Bools
    axis: str = "layer"
    chance: list[float] | None = None
    theory: Floats | None = None
    share: float = 1.0


def profiles(run: Run) -> list[Shown]:
    """Those of which anything was recorded, the gradient first."""
    return [*_along_layers(run), *_through_time(run)]


def _along_layers(run: Run) -> Iterator[Shown]:
    hidden = hidden_backward_ratio(run)
    floor = noise_floor(run)
    chance = [float(v) for v in floor.values[0]] if floor.layers == hidden.layers and floor.present.all() else None
    reference = hidden.reference or "the last hidden layer"
    last = backward_ratio(run)
    depth, predicted = depth_profile(run), predicted_backward_ratio(run)
    theory = predicted.values[0] if not predicted.empty and predicted.layers == depth.layers else None
    for profile, title, unit, scale in (
        (depth, "gradient at the layer's output", "gradient norm", "size"),
        (hidden, f"gradient against that at {reference}, the last hidden layer", "ratio", "ratio"),
        (last, f"gradient against that at {last.reference}, the last layer", "ratio", "ratio"),
        (backward_gain(run), "gain: how much of the gradient each layer passes on", "gain", "ratio"),
        (parameter_profile(run), "gradient of the layer's weights", "gradient norm", "size"),
        (update_ratio(run), "update of the weights relative to them", "update / weight", "size"),
        (depth_profile(run, "forward_norm"), "signal at the layer's output", "output norm", "size"),
        (dead_share(run), "dead units", "share", "share"),
        (saturated_share(run), "saturated activations", "share", "share"),
    ):
        shown = profile.measured
        if not shown.empty and not (scale == "ratio" and len(shown.layers) < 2):
            drawn = _of(shown, title, unit, scale)
            yield replace(drawn, chance=chance if profile is hidden else None, theory=theory if profile is depth else None)


def _of(profile: Profile, title: str, unit: str, scale: str) -> Shown:
    share = FINER if profile.signal == "backward_norm" else 1.0
    return Shown(
        profile.signal,
        title,
        unit,
        scale,
        profile.steps,
        profile.layers,
        profile.values,
        profile.present,
        share=share,
    )


def _through_time(run: Run) -> Iterator[Shown]:
    for found in time_ratio(run):
        title = f"gradient through time: {found.layer}, against its last time step"
        times = tuple(str(t) for t in found.times)
        identity = f"time_ratio:{found.layer}"
        yield Shown(identity, title, "ratio", "ratio", found.steps, times, found.values, found.present, axis="time step")
