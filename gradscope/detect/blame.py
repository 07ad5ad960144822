"""Which factor of the chain rule a gradient's change between two layers is due to, and whether another gain would mend it.

The decades are measured (``signals.attribution``) and add up to the change. What theory adds is the gain at which gradients
would be level with the activation in question, and whether units could work there: a sigmoid's is 10.1, where half of them
are saturated. It is left out where the activation's measured derivative is not what theory expects of it, as with options of
its own or weights that training has shaped. Where the record does not show what most of the change is due to, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gradscope import theory
from gradscope.numbers import number
from gradscope.record.grid import Floats
from gradscope.record.manifest import LayerInfo
from gradscope.record.run import Run
from gradscope.signals.attribution import KINDS, WORDS, Attribution, attribution

WORTH = 1.0
"""Decades, either way, from which on a change has a cause: less is what layers differ by anyway."""
TOLD = 0.5
"""Share of the change that the record must show the factors of."""
FEW = 0.75
"""Share of the change that makes a quarter of the layers, or one, the place of it."""
SAME_GAIN = 1.1
"""Two gains per layer this near to each other are one: theory's own trials differ by less."""
AS_EXPECTED = 1.25
"""How far, either way, an activation's measured gain per layer may be from theory's for theory to be asked about it."""
SOME = 8
"""Layers whose values' length is looked at, spread over those in question: each is a read of its own in a long run."""
SMALL = 0.1
"""Share of the change under which a part of it is not worth a word."""
SATURATED = 0.5
"""Share of saturated units at which a gain is none that a net could work at; that of the rule for saturated activations."""

WEIGHT, ACTIVATION, NORM, SKIP, FIXED, OTHER = range(len(KINDS))


def blame(run: Run, first: str, last: str, steps: Iterable[int]) -> str | None:
    """In a sentence, what the gradient's change from one trunk station to an earlier one is due to; None where nothing tells,
    or where it is no more than layers differ by anyway.

    The first of the ``steps`` that tells is the one that is told: at a single one a norm may be missing.
    """
    for step in dict.fromkeys(steps):
        found = attribution(run, step)
        if first in found.sources and last in found.layers and (told := of_stretch(run, found.between(first, last))):
            return told
    return None


def of_stretch(run: Run, parts: Attribution) -> str | None:
    """The same of the last row of an attribution, from its first station to its last."""
    if not parts.layers or not len(parts.steps) or not parts.present[-1].all():
        return None
    whole = float(parts.decades[-1].sum())
    if abs(whole) < WORTH or abs(parts.decades[-1].sum(axis=0)[OTHER]) > (1.0 - TOLD) * abs(whole):
        return None
    place = _place(parts, whole)
    links = place or list(range(len(parts.layers)))
    stretch = _Stretch(run, parts, links)
    told = _shares(stretch, lost=whole < 0.0)
    if place:
        at = ", ".join(f"{parts.sources[i]} and {parts.layers[i]}" for i in place[:3]) + (", ..." if len(place) > 3 else "")
        told = f"most of the {abs(whole):.1f} decades, {abs(stretch.total.sum()):.1f}, are between {at}: {told}"
    remark = _remark(stretch, lost=whole < 0.0)
    return f"{told}; {remark}" if remark else told


class _Stretch:
    """Some links of an attribution at its last row; ``total`` (K,) are their decades by kind."""

    def __init__(self, run: Run, parts: Attribution, links: Sequence[int]) -> None:
        self.run, self.parts, self.links = run, parts, links
        self.step = int(parts.steps[-1])
        self.total: Floats = parts.decades[-1, links].sum(axis=0)
        order = {info.name: i for i, info in enumerate(run.catalogue.layers)}
        spans = [(order[parts.sources[i]], order[parts.layers[i]]) for i in links]
        self.sources = [run.catalogue.layers[a] for a, _ in spans]
        self.ends = [run.catalogue.layers[b] for _, b in spans]
        self.between = [info for a, b in spans for info in run.catalogue.layers[a + 1 : b]]
        self.normed_first = all(b - a < 2 or "Norm" in run.catalogue.layers[a + 1].kind for a, b in spans)

    @property
    def activations(self) -> list[str]:
        """The classes of the activations, each once."""
        of = [i.function for i in self.sources if i.activation and not _is_activation(i)]
        of += [i.kind for i in (*self.between, *self.ends) if _is_activation(i)]
        of += [i.ends_in for i in self.ends if i.ends_in]
        return list(dict.fromkeys(name or "" for name in of))

    @property
    def norms(self) -> list[str]:
        return list(dict.fromkeys(info.kind for info in self.between if "Norm" in info.kind))

    def gain(self, kind: int) -> float:
        """Per link, as a factor of the norm."""
        return float(10.0 ** (self.total[kind] / len(self.links)))


def _is_activation(info: LayerInfo) -> bool:
    return (info.activation is not None and not info.parameters) or info.kind == "PReLU"


def _place(parts: Attribution, whole: float) -> list[int]:
    """The few links that carry most of the change; none where it is spread."""
    along = parts.decades[-1].sum(axis=1) * math.copysign(1.0, whole)
    most = np.argsort(along)[::-1]
    count = int(np.searchsorted(np.cumsum(along[most]), FEW * abs(whole))) + 1
    return sorted(most[:count].tolist()) if len(along) > 1 and count <= max(1, len(along) // 4) else []


def _shares(stretch: _Stretch, *, lost: bool) -> str:
    """``6.3 of the 6.4 decades are lost in the sigmoid's derivative``, and what else does its part or works against it."""
    sign = -1.0 if lost else 1.0
    shares = sorted(((sign * value, name) for name, value in _named(stretch).items()), reverse=True)
    (most, name), *rest = shares
    here = sum(value for value, _ in shares)
    change, back = ("lost", "come back") if lost else ("gained", "are lost again")
    against = [f"{-value:.1f} {back} in {other}" for value, other in rest if value < -SMALL * here]
    if against:
        return ", ".join([f"{most:.1f} decades are {change} in {name}", *against])
    told = f"{most:.1f} of the {here:.1f} decades are {change} in {name}"
    if most >= here - 0.05:
        told = f"all {here:.1f} decades are {change} in {name}"
    return ", ".join([told, *(f"{value:.1f} in {other}" for value, other in rest if value > SMALL * here)])


def _named(stretch: _Stretch) -> dict[str, float]:
    """The decades of a stretch by what they are due to."""
    total, norms = stretch.total, stretch.norms
    shares = {
        _derivative(stretch.activations): total[ACTIVATION],
        **{WORDS[KINDS[kind]]: total[kind] for kind in (SKIP, FIXED, OTHER)},
    }
    if norms and stretch.normed_first:  # it divides the weights' scale out again: the two are one factor
        shares[f"{_norm(norms)} and the weights whose scale it divides out"] = total[WEIGHT] + total[NORM]
    else:
        shares |= {"the weights": total[WEIGHT], _norm(norms): total[NORM]}
    return {name: float(value) for name, value in shares.items()}


def _derivative(kinds: Sequence[str]) -> str:
    if len(kinds) != 1 or not kinds[0]:
        return "the activations' derivatives"
    return {"Sigmoid": "the sigmoid's derivative", "Tanh": "tanh's derivative"}.get(kinds[0], f"{kinds[0]}'s derivative")


def _norm(kinds: Sequence[str]) -> str:
    names = {"BatchNorm": "batch norm", "LayerNorm": "layer norm", "RMSNorm": "RMS norm", "GroupNorm": "group norm"}
    found = {next((words for part, words in names.items() if part in kind), "norm") for kind in kinds}
    return f"the {found.pop()}" if len(found) == 1 else "the normalisation"


def _remark(stretch: _Stretch, *, lost: bool) -> str | None:
    """What another scale of the weights, or of the branches, would do."""
    share = np.abs(stretch.total)
    if share[SKIP] >= max(share[WEIGHT], share[ACTIVATION], share[NORM], 0.1):
        return None if lost else _of_blocks(stretch)
    if stretch.norms:
        return "no init scale changes that" if stretch.normed_first else None
    return _of_gain(stretch, lost=lost)


def _of_blocks(stretch: _Stretch) -> str | None:
    branch, past = (part[-1, stretch.links] for part in (stretch.parts.branch, stretch.parts.past))
    known = branch[past == 1.0]
    if not len(known) or not np.isfinite(known).all():
        return None
    count, gain = len(known), math.sqrt(float(np.mean(known**2)))
    within = (1.0 + gain**2 / count) ** (count / 2)
    return (
        f"beside the skip path a branch passes {number(gain, 2)} of the gradient back; scaled by 1/sqrt({count}), all would "
        f"let it grow {number(within, 2)} times"
    )


def _of_gain(stretch: _Stretch, *, lost: bool) -> str | None:
    kinds = stretch.activations
    phi = theory.of_torch(kinds[0]) if len(kinds) == 1 else None
    if phi is None or not _as_expected(stretch, phi):
        return None
    point = theory.critical_point(phi)
    never = "no init scale cures that"
    if not point.level:
        return f"{never}: each layer loses some at any gain" if lost else None
    flat = theory.flat_share(phi, point.length) if _two_sided(stretch) else 0.0
    if flat > SATURATED:
        return (
            f"{never}: gradients are level at {point.sigma_w:.1f}, where {flat:.0%} of the units are saturated"
            if lost
            else None
        )
    gain = stretch.gain(WEIGHT)
    if (lost and point.sigma_w > SAME_GAIN * gain) or (not lost and gain > SAME_GAIN * point.sigma_w):
        level = f"with {kinds[0]} gradients are level at {number(point.sigma_w)}, {_times(point.sigma_w / gain)} times that"
        return f"weights of gain {number(gain, 2)} are too {'small' if lost else 'large'}: {level}"
    return None


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 100.0 else number(factor, 2)


def _two_sided(stretch: _Stretch) -> bool:
    return any(i.activation == "two-sided" for i in (*stretch.sources, *stretch.between))


def _as_expected(stretch: _Stretch, phi: theory.Nonlinearity) -> bool:
    """Whether the measured gain of the derivative is theory's for values as long as those that were measured."""
    some = {stretch.sources[i].name for i in np.linspace(0, len(stretch.sources) - 1, SOME).astype(int)}
    squares = []
    for name in some:
        mean, std = (stretch.run.series("layers", column, name) for column in ("forward_mean", "forward_std"))
        at = np.flatnonzero(mean.steps == stretch.step)
        if not len(at) or not (mean.present[at] & std.present[at]).all():
            return False
        squares.append(float(mean.values[at[0], -1] ** 2 + std.values[at[0], -1] ** 2))
    lengths = np.array(squares)
    if not np.isfinite(lengths).all():
        return False
    expected = 0.5 * float(np.mean(np.log(np.maximum(theory.mean_square_slope(phi, np.minimum(lengths, 1e18)), 1e-300))))
    return abs(math.log(stretch.gain(ACTIVATION)) - expected) <= math.log(AS_EXPECTED)
