"""``probe``: what a net does to a signal and to a gradient before it is trained, measured and predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import nn

from gradscope.detect.blame import of_stretch
from gradscope.errors import GradscopeError, UsageError
from gradscope.probe.calls import Calls
from gradscope.probe.description import Described, NoTheoryError, describe
from gradscope.probe.expectation import Reach, expect, over_depth, reach
from gradscope.probe.once import Loss, once
from gradscope.probe.recurrence import TimeProbe, through_time
from gradscope.record.finding import Report
from gradscope.record.manifest import Catalogue
from gradscope.record.run import Run
from gradscope.signals.attribution import KINDS, Attribution, attribution
from gradscope.signals.profiles import Profile, layer_profile
from gradscope.signals.ratios import backward_gain, backward_ratio, weight_gradient_ratio
from gradscope.theory import Prediction, predict

SIGMAS = 3.0
"""Standard deviations of chance that a measured logarithm may lie from the predicted one."""
PER_LAYER = 0.0175
"""What each layer may add to that: 3.5 % of the squared norm, the worst of theory's own trials at width 512."""


@dataclass(frozen=True)
class Predicted:
    """Theory's word on one station: ``gain`` and ``ratio`` as in ``LayerProbe``, each with the interval that chance allows;
    ``rms`` is None behind a mean over an image, which theory does not follow.
    """

    rms: float | None
    gain: float | None
    gain_interval: tuple[float, float] | None
    ratio: float
    ratio_interval: tuple[float, float]
    weight_ratio: float | None


@dataclass(frozen=True)
class LayerProbe:
    """One station. ``rms`` is the root mean square of its output, ``gain`` the factor by which the gradient's norm changes from
    its output to the output of the station before, ``ratio`` the norm at its output over that at the last station; all None
    where not measured. ``weight_ratio`` is the norm of the weights' gradient over that of the last station's: measured on a
    batch, in which samples add up, and predicted for one. ``agrees`` says whether the ratio lies in the predicted interval.
    """

    name: str
    kind: str
    rms: float | None
    gain: float | None
    ratio: float | None
    predicted: Predicted | None
    decades: dict[str, float] | None
    weight_ratio: float | None = None

    @property
    def agrees(self) -> bool | None:
        if self.predicted is None or self.ratio is None:
            return None
        low, high = self.predicted.ratio_interval
        return low <= self.ratio <= high


@dataclass(frozen=True, eq=False)
class Probe:
    """What ``probe`` gives: ``layers`` from input to output, the verdict to expect as a ``Report``, what recurrent layers do
    ``through_time``, and the record itself.

    ``theory`` says in a sentence why there is no prediction over depth, or is None; ``notes`` what limits one. ``decades`` are
    the parts of log10 of the gradient at the first station over that at the last, by kind; they add up to it, and ``cause``
    says what it is due to where that is a finding.
    """

    name: str
    layers: tuple[LayerProbe, ...]
    report: Report
    through_time: tuple[TimeProbe, ...]
    reach: Reach | None
    decades: dict[str, float] | None
    cause: str | None
    theory: str | None
    notes: tuple[str, ...]
    run: Run
    attribution: Attribution

    @property
    def departures(self) -> tuple[str, ...]:
        """The stations whose measured ratio leaves the predicted interval."""
        return tuple(layer.name for layer in self.layers if layer.agrees is False)

    @property
    def predicted_ratios(self) -> dict[str, float]:
        """The predicted ratio of each station that theory has a word on; empty where it has none on the net."""
        return {layer.name: layer.predicted.ratio for layer in self.layers if layer.predicted is not None}

    def __str__(self) -> str:
        """The diagnosis as ``gradscope probe`` prints it to a file."""
        from gradscope.probe.text import write

        return write(self)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``gradscope probe --format json``; what is not finite is null."""
        layers = [{**asdict(layer), "agrees": layer.agrees} for layer in self.layers]
        found = {
            "schema_version": 1,
            "name": self.name,
            "verdict": self.report.verdict.value,
            "findings": [f.to_dict() for f in self.report.findings],
            "reach": asdict(self.reach) if self.reach else None,
            "decades": self.decades,
            "cause": self.cause,
            "blocks": self._blocks(),
            "theory": self.theory,
            "departures": list(self.departures),
            "through_time": [{**asdict(t), "agrees": t.agrees} for t in self.through_time],
            "layers": layers,
            "notes": list(self.notes),
        }
        return {key: _plain(value) for key, value in found.items()}

    def _blocks(self) -> list[dict[str, Any]]:
        a = self.attribution
        return [
            {"layer": n, **{part: float(getattr(a, part)[-1, i]) for part in ("past", "branch", "cross", "cosine")}}
            for i, n in enumerate(a.layers)
            if n in a.blocks
        ]


def probe(model: nn.Module, batch: Any, loss_fn: Loss, *, name: str | None = None) -> Probe:
    """Diagnose a model before it is trained: one batch forward and back, layer by layer, with theory beside it.

    ``batch`` is ``(inputs, targets)``, and the loss ``loss_fn(model(inputs), targets)``; or inputs alone, and the loss
    ``loss_fn(model(inputs))``. Inputs that are a tuple or a mapping are the model's arguments. The pass runs in training mode;
    weights, gradients, buffers, modes and torch's random state are afterwards as they were.

    Raises:
        UsageError: the batch or the loss is not of that kind, or the loss depends on no parameter.
        UnsupportedError: a parameter has no shape yet, or a hook of its own that might change it.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"probe: model must be a torch.nn.Module (got {type(model).__name__})")
    run, calls = once(model, batch, loss_fn, name or type(model).__name__)
    parts = attribution(run)
    prediction, places, why = _prediction(calls, parts, run.catalogue)
    told = bool(parts.layers) and bool(parts.present[-1].all())
    report = expect(run)
    return Probe(
        run.name,
        tuple(_layers(run, parts, prediction, places)),
        report,
        through_time(run, calls.recurrent),
        reach(run),
        dict(zip(KINDS, parts.total[-1].tolist(), strict=True)) if told else None,
        of_stretch(run, parts) if told and any(map(over_depth, report.findings)) else None,
        why,
        (*run.manifest.notes, *(prediction.notes if prediction else ()), *_unexplained(parts)),
        run,
        parts,
    )


def _prediction(calls: Calls, parts: Attribution, catalogue: Catalogue) -> tuple[Prediction | None, dict[str, int], str | None]:
    """The prediction, where each named layer stands in it, and why there is none."""
    try:
        described = describe(calls, parts, catalogue)
        inputs = calls.inputs
        if inputs is None:
            raise NoTheoryError("the first layer takes no vectors of numbers")
        prediction = predict(
            [d.layer for d in described],
            width=inputs.width,
            input_length=inputs.lengths,
            input_overlap=inputs.overlap,
            batch=inputs.rows,
        )
    except (NoTheoryError, GradscopeError) as error:
        return None, {}, str(error)
    return prediction, _places(described), None


def _places(described: Sequence[Described]) -> dict[str, int]:
    return {d.name: i for i, d in enumerate(described) if d.name}


def _unexplained(parts: Attribution) -> tuple[str, ...]:
    if not parts.unexplained:
        return ()
    name, why = parts.unexplained[0]
    more = f" (so for {len(parts.unexplained)} of {len(parts.layers)} layers)" if len(parts.unexplained) > 1 else ""
    return (f"attribution: the decades at {name} cannot be told apart: {why}{more}",)


def _layers(run: Run, parts: Attribution, prediction: Prediction | None, places: dict[str, int]) -> list[LayerProbe]:
    ratio, gain, weights = backward_ratio(run), backward_gain(run), weight_gradient_ratio(run)
    of_weights = {name: _value(weights, i) for i, name in enumerate(weights.layers)}
    std, mean = (layer_profile(run, c, ratio.layers) for c in ("forward_std", "forward_mean"))
    infos = {info.name: info for info in run.catalogue.layers}
    known = [name for name in ratio.layers if name in places]
    before = {b: a for a, b in pairwise(known)}
    last = len(ratio.layers) - 1
    found = []
    for i, name in enumerate(ratio.layers):
        at = places.get(name)
        s, m = _value(std, i), _value(mean, i)
        stretch = (places[before[name]], places[name]) if name in before and before[name] == ratio.layers[i - 1] else None
        link = parts.layers.index(name) if name in parts.layers else None
        told = link is not None and bool(parts.present[-1, link])
        found.append(
            LayerProbe(
                name,
                infos[name].kind,
                math.hypot(s, m) if s is not None and m is not None else None,
                _value(gain, i),
                _value(ratio, i),
                _predicted(prediction, at, stretch, last - i) if prediction is not None and at is not None else None,
                dict(zip(KINDS, parts.decades[-1, link].tolist(), strict=True)) if told and link is not None else None,
                of_weights.get(name),
            )
        )
    return found


def _predicted(prediction: Prediction, at: int, stretch: tuple[int, int] | None, behind: int) -> Predicted:
    layer = prediction.layers[at]
    middle = layer.log_ratio + layer.ratio_drift
    wide = SIGMAS * layer.ratio_spread + PER_LAYER * behind
    gain = interval = None
    if stretch is not None:
        passed = prediction.layers[stretch[0] + 1 : stretch[1] + 1]
        gain = math.prod(p.backward_gain for p in passed)
        room = _exp(SIGMAS * math.hypot(*(p.gain_spread for p in passed)) + PER_LAYER)
        interval = (gain / room, gain * room)
    allowed = (_exp(middle - wide), _exp(middle + wide))
    rms = None if math.isnan(layer.rms) else layer.rms
    return Predicted(rms, gain, interval, layer.backward_ratio, allowed, layer.weight_ratio)


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))


def _value(profile: Profile, at: int) -> float | None:
    return float(profile.values[-1, at]) if len(profile.steps) and bool(profile.present[-1, at]) else None


def _plain(value: Any) -> Any:
    """Without numbers that JSON does not have."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
