"""Which factor of the chain-rule product takes the gradient away: weights, activation slopes, norms, or the skip path.

On a chain the gradient's norm changes by the product of its operations' local gains, ||dL/d input|| / ||dL/d output||,
so the logarithms of the gains add up to that of the whole. A residual block y = x + F(x) has

    gamma^2 = 1 + g_F^2 + 2 g_F cos

with g_F the gain of the branch (its scale included) and cos the angle between the branch's gradient and the stream's. Where the
stream passes a shortcut with weights of its own, S(x) + F(x), its gain g_S stands in the place of 1, and the cross term is
2 g_S g_F cos. The
block's decades count as the skip path's; those inside its branch are given beside them. Nothing is fitted: the parts of a
link add up to what was measured, and what the record does not show of a link is ``other``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gradscope.record.grid import Bools, Floats, Grid, Ints
from gradscope.record.manifest import LayerInfo
from gradscope.record.run import Run
from gradscope.signals.links import KINDS, Place, link
from gradscope.signals.profiles import depth_profile

__all__ = ["KINDS", "WORDS", "Attribution", "attribution", "told"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """The decades of the back-propagated signal by what they are due to. S steps, L links between neighbouring stations.

    ``decades`` (S, L, K) are log10 of the gain towards the input, one for each of ``KINDS``; their sum over kinds is
    log10(||delta_source|| / ||delta_layer||) of the link that ends in ``layers[l]``. Where not ``present`` (S, L) one of the
    two was not recorded, is 0 or not finite, and the decades are NaN. For residual blocks ``past`` (S, L) is g_S, ``branch``
    (S, L) is g_F and ``cross`` (S, L) is 2 g_S g_F cos, NaN elsewhere; ``inside`` (S, L, K) are the decades of g_F by kind, its
    scale under other. Of a branch that begins in several operations g_F, ``cross`` and ``inside`` are NaN.
    ``unexplained`` pairs a layer with the reason why its link stands under ``other``, all of it or a part.
    """

    steps: Ints
    sources: tuple[str, ...]
    layers: tuple[str, ...]
    decades: Floats
    present: Bools
    past: Floats
    branch: Floats
    cross: Floats
    inside: Floats
    unexplained: tuple[tuple[str, str], ...] = ()

    @property
    def total(self) -> Floats:
        """Decades by kind over all links (S, K): NaN where one of them has none."""
        total: Floats = self.decades.sum(axis=1)
        return total

    @property
    def end_to_end(self) -> Floats:
        """log10(||delta_1|| / ||delta_L||), (S,)."""
        whole: Floats = self.total.sum(axis=1)
        return whole

    @property
    def cosine(self) -> Floats:
        """Between the gradient that the branch sends back and that of the skip path (S, L); NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.branch > 0.0, self.cross / (2.0 * self.past * self.branch), np.nan)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The links that are residual blocks, by layer."""
        return tuple(name for name, g in zip(self.layers, self.past.T, strict=True) if not np.isnan(g).all())

    def between(self, first: str, last: str) -> Attribution:
        """The links from one station to a later one. Raises ``ValueError`` where there is no such stretch."""
        part = slice(self.sources.index(first), self.layers.index(last) + 1)
        if part.start >= part.stop:
            raise ValueError(f"{last} does not come after {first}")
        names = self.layers[part]
        return Attribution(
            self.steps,
            self.sources[part],
            names,
            self.decades[:, part],
            self.present[:, part],
            self.past[:, part],
            self.branch[:, part],
            self.cross[:, part],
            self.inside[:, part],
            tuple((name, why) for name, why in self.unexplained if name in names),
        )


WORDS = {
    "weight": "the weights",
    "activation": "the activations' derivatives",
    "norm": "the normalisation",
    "skip": "the residual blocks",
    "fixed": "fixed operations such as a mean or a dropout",
    "other": "what cannot be told apart",
}


def told(run: Run) -> tuple[Ints, Bools]:
    """At which steps which links have a gradient at both ends: ``Attribution``'s steps and ``present``, without its decades.

    Those of a deep network over a long run are too many to be worked out for the sake of a few.
    """
    profile = depth_profile(run)
    usable = profile.present & np.isfinite(profile.values) & (profile.values > 0.0)
    return profile.steps, usable[:, 1:] & usable[:, :-1]


def attribution(run: Run, at: int | Ints | None = None) -> Attribution:
    """From the recorded local gains of any run; links of a chain and of residual blocks are told, others say why not.

    Of all steps, or of one step or of several alone: no row for one that was not sampled. One is read alone.
    """
    places, steps = _places(run, at)
    stations = [i for i, p in enumerate(places) if p.info.trunk]
    links = [link(places[a], places[a + 1 : b], places[b]) for a, b in pairwise(stations)]
    ends = [(places[a].info.name, places[b].info.name) for a, b in pairwise(stations)]
    rows, width = len(steps), len(links)

    def stacked(parts: Sequence[Floats], *last: int) -> Floats:
        return np.stack(parts, axis=1) if width else np.empty((rows, 0, *last))

    decades = stacked([found.decades for found in links], len(KINDS))
    return Attribution(
        steps,
        tuple(a for a, _ in ends),
        tuple(b for _, b in ends),
        decades,
        np.asarray(~np.isnan(decades).any(axis=2)),
        stacked([found.past for found in links]),
        stacked([found.branch for found in links]),
        stacked([found.cross for found in links]),
        stacked([found.inside for found in links], len(KINDS)),
        tuple((name, found.why) for (_, name), found in zip(ends, links, strict=True) if found.why),
    )


def _places(run: Run, at: int | Ints | None) -> tuple[list[Place], Ints]:
    matrices = {p.layer for p in run.catalogue.parameters if p.is_matrix}
    backward, before = (_grid(run, column, at) for column in ("backward_norm", "input_backward_norm"))
    calls = Counter(backward.names)
    column = {name: i for i, (name, call) in enumerate(backward.entities) if call == calls[name] - 1}
    places = [
        Place(
            info,
            _kind(info, matrices),
            np.where(backward.present[:, at], backward.values[:, at], np.nan),
            np.where(before.present[:, at], before.values[:, at], np.nan),
            calls[info.name] == 1,
        )
        for info in run.catalogue.layers
        if (at := column.get(info.name)) is not None
    ]
    return places, backward.steps


def _grid(run: Run, column: str, at: int | Ints | None) -> Grid:
    if isinstance(at, int):
        return run.at("layers", column, at)
    whole = run.grid("layers", column)
    return whole if at is None else whole.at(np.flatnonzero(np.isin(whole.steps, at)))


def _kind(info: LayerInfo, matrices: set[str]) -> str:
    if "Norm" in info.kind:
        return "norm"
    if info.name in matrices:
        return "weight"
    return "activation" if info.activation is not None or info.kind == "PReLU" else "other"
