"""Which factor of the chain-rule product takes the gradient away: weights, activation slopes, norms, or the skip path.

On a chain the gradient's norm changes by the product of its operations' local gains, ||dL/d input|| / ||dL/d output||,
so the logarithms of the gains add up to that of the whole. A residual block y = x + F(x) has

    gamma^2 = 1 + g_F^2 + 2 g_F cos

with g_F the gain of the branch (its scale included) and cos the angle between the branch's gradient and the stream's. The
block's decades count as the skip path's; those inside its branch are given beside them. Nothing is fitted: the parts of a
link add up to what was measured, and where the record does not show what a link is made of, all of it is ``other``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from gradscope.record.grid import Bools, Floats, Ints
from gradscope.record.manifest import LayerInfo
from gradscope.record.run import Run

KINDS = ("weight", "activation", "norm", "skip", "other")
SAME = 1e-5
"""Two norms of one tensor agree to this, relative: large tensors may have been read in float32."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """The decades of the back-propagated signal by what they are due to. S steps, L links between neighbouring stations.

    ``decades`` (S, L, K) are log10 of the gain towards the input, one for each of ``KINDS``; their sum over kinds is
    log10(||delta_source|| / ||delta_layer||) of the link that ends in ``layers[l]``. Where not ``present`` (S, L) one of the
    two was not recorded, is 0 or not finite, and the decades are NaN. For residual blocks ``branch`` (S, L) is g_F and
    ``cross`` (S, L) is 2 g_F cos, NaN elsewhere; ``inside`` (S, L, K) are the decades of g_F by kind, its scale under other.
    ``unexplained`` pairs a layer with the reason why its link stands under ``other``.
    """

    steps: Ints
    sources: tuple[str, ...]
    layers: tuple[str, ...]
    decades: Floats
    present: Bools
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
            return np.where(self.branch > 0.0, self.cross / (2.0 * self.branch), np.nan)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The links that are residual blocks, by layer."""
        return tuple(name for name, g in zip(self.layers, self.branch.T, strict=True) if not np.isnan(g).all())

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
    "other": "what cannot be told apart",
}


@dataclass(frozen=True, eq=False)
class _Place:
    """One station with its two norms, (S,) each, NaN where they are absent."""

    info: LayerInfo
    kind: str
    backward: Floats
    before: Floats
    called_once: bool


def attribution(run: Run, step: int | None = None) -> Attribution:
    """From the recorded local gains of any run; links of a chain and of residual blocks are told, others say why not.

    With a ``step``, of that one alone: one row, or none where it was not sampled.
    """
    places, steps = _places(run, step)
    stations = [i for i, p in enumerate(places) if p.info.trunk]
    links = [_link(places[a], places[a + 1 : b], places[b]) for a, b in pairwise(stations)]
    ends = [(places[a].info.name, places[b].info.name) for a, b in pairwise(stations)]
    rows, width = len(steps), len(links)

    def stacked(parts: Sequence[Floats], *last: int) -> Floats:
        return np.stack(parts, axis=1) if width else np.empty((rows, 0, *last))

    decades = stacked([link.decades for link in links], len(KINDS))
    return Attribution(
        steps,
        tuple(a for a, _ in ends),
        tuple(b for _, b in ends),
        decades,
        np.asarray(~np.isnan(decades).any(axis=2)),
        stacked([link.branch for link in links]),
        stacked([link.cross for link in links]),
        stacked([link.inside for link in links], len(KINDS)),
        tuple((name, link.why) for (_, name), link in zip(ends, links, strict=True) if link.why),
    )


def _places(run: Run, step: int | None) -> tuple[list[_Place], Ints]:
    matrices = {p.layer for p in run.catalogue.parameters if p.is_matrix}
    backward, before = (
        run.grid("layers", column) if step is None else run.at("layers", column, step)
        for column in ("backward_norm", "input_backward_norm")
    )
    calls = Counter(backward.names)
    column = {name: i for i, (name, call) in enumerate(backward.entities) if call == calls[name] - 1}
    places = [
        _Place(
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


def _kind(info: LayerInfo, matrices: set[str]) -> str:
    if "Norm" in info.kind:
        return "norm"
    if info.name in matrices:
        return "weight"
    return "activation" if info.activation is not None or info.kind == "PReLU" else "other"


@dataclass(frozen=True, eq=False)
class _Link:
    decades: Floats
    branch: Floats
    cross: Floats
    inside: Floats
    why: str = ""


def _link(source: _Place, between: Sequence[_Place], end: _Place) -> _Link:
    """What stands between the outputs of two neighbouring stations."""
    whole = _log_ratio(source.backward, end.backward)
    holds = any(p.info.name.startswith(f"{end.info.name}.") for p in between)  # a block's output is not one operation's
    operations = [*between] if holds else [*between, end]
    twice = next((p for p in (source, *operations, end) if not p.called_once), None)
    if twice is not None:
        return _unexplained(whole, f"{twice.info.name} is called more than once in a forward pass")
    if holds and (np.isnan(operations[0].before).all() or not _same(operations[0].before, source.backward)):
        return _residual(source, operations, end, whole)
    return _chain(source, operations, end, whole)


def _chain(source: _Place, operations: Sequence[_Place], end: _Place, whole: Floats) -> _Link:
    if source.info.activation is not None and source.kind == "weight" and len(operations) == 1 and operations[0] is end:
        own = _log_ratio(end.before, end.backward)  # an activation called as a function stands between
        if not np.isnan(own).all():
            return _Link(_parts(whole, {"weight": own, "activation": whole - own}), *_no_block(whole))
    gap = _gap(source.backward, operations)
    if gap is not None:
        return _sum_before(source, operations[:-1], end, whole) or _unexplained(whole, gap)
    parts = _gains(source.backward, operations)
    if operations[-1] is not end:
        parts["other"] = parts.get("other", 0.0) + _log_ratio(operations[-1].backward, end.backward)
    return _Link(_parts(whole, parts), *_no_block(whole))


def _sum_before(source: _Place, branch: Sequence[_Place], end: _Place, whole: Floats) -> _Link | None:
    """A block whose sum another operation follows, end(x + F(x)), as in the residual nets of He et al. 2016."""
    if not branch or np.isnan(end.before).all() or not _same(branch[-1].backward, end.before):
        return None
    added = replace(end, backward=end.before)
    block = _residual(source, branch, added, _log_ratio(source.backward, added.backward))
    if block.why:
        return None
    own = {"skip": _log_ratio(source.backward, end.before)}
    own[end.kind] = own.get(end.kind, 0.0) + _log_ratio(end.before, end.backward)
    return replace(block, decades=_parts(whole, own))


def _residual(source: _Place, operations: Sequence[_Place], end: _Place, whole: Floats) -> _Link:
    first = operations[0].before
    if np.isnan(first).all():
        return _unexplained(whole, f"the gradient at the input of {operations[0].info.name} cannot be told")
    gap = _gap(first, operations)
    if gap is not None:
        return _unexplained(whole, gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        branch = np.where(np.isnan(whole), np.nan, first / end.backward)
    squared = 10.0 ** (2.0 * whole)
    cross = squared - 1.0 - branch**2
    if (np.abs(cross) > 2.0 * branch * (1.0 + SAME) + SAME * squared).any():
        return _unexplained(whole, f"{end.info.name} is no sum of its input and one branch")
    inside = _gains(first, operations)
    inside["other"] = inside.get("other", 0.0) + _log_ratio(operations[-1].backward, end.backward)
    return _Link(_parts(whole, {"skip": whole}), branch, cross, _parts(_log_ratio(first, end.backward), inside))


def _gains(start: Floats, operations: Sequence[_Place]) -> dict[str, Floats]:
    """log10 of the gains of operations in a row, by kind; ``start`` is the gradient at the input of the first."""
    parts: dict[str, Floats] = {}
    before = start
    for p in operations:
        parts[p.kind] = parts.get(p.kind, 0.0) + _log_ratio(before, p.backward)
        before = p.backward
    return parts


def _gap(start: Floats, operations: Sequence[_Place]) -> str | None:
    """Why these operations are no chain: one's input is not the output of the one before. One may be left unasked."""
    before, unasked = start, 0
    for p in operations:
        if np.isnan(p.before).all():
            unasked += 1
            if unasked > 1:
                return f"the gradient at the input of {p.info.name} cannot be told"
        elif not _same(p.before, before):
            return f"in front of {p.info.name} stands something that is not recorded: a sum, a dropout, a product"
        before = p.backward
    return None


def _same(a: Floats, b: Floats) -> bool:
    """Whether two norms are one tensor's at every step that has both."""
    with np.errstate(invalid="ignore"):
        differ = np.abs(a - b) > SAME * np.maximum(np.abs(a), np.abs(b))
    return not differ.any()


def _log_ratio(above: Floats, below: Floats) -> Floats:
    """log10(above / below), NaN where either is absent, 0 or not finite."""
    usable = (above > 0.0) & (below > 0.0) & np.isfinite(above) & np.isfinite(below)
    return np.where(usable, np.log10(np.where(usable, above, 1.0)) - np.log10(np.where(usable, below, 1.0)), np.nan)


def _parts(whole: Floats, by_kind: dict[str, Floats]) -> Floats:
    """(S, K); NaN in all where the whole is."""
    parts = np.zeros((len(whole), len(KINDS)))
    for kind, values in by_kind.items():
        parts[:, KINDS.index(kind)] = values
    parts[np.isnan(whole)] = np.nan
    return parts


def _no_block(whole: Floats) -> tuple[Floats, Floats, Floats]:
    nothing = np.full(len(whole), np.nan)
    return nothing, nothing, np.full((len(whole), len(KINDS)), np.nan)


def _unexplained(whole: Floats, why: str) -> _Link:
    return _Link(_parts(whole, {"other": whole}), *_no_block(whole), why)
