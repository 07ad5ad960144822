"""What stands between two neighbouring stations: a row of operations, a residual block, or something that is not recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gradscope.record.grid import Floats
from gradscope.record.manifest import LayerInfo

KINDS = ("weight", "activation", "norm", "skip", "other")
ONE_BRANCH = 2
"""Operations that read a stream which a single branch leaves: the first of the branch, and the sum at its end."""
SAME = 1e-5
"""Two norms of one tensor agree to this, relative: large tensors may have been read in float32."""


@dataclass(frozen=True, eq=False)
class Place:
    """One station with its two norms, (S,) each, NaN where they are absent."""

    info: LayerInfo
    kind: str
    backward: Floats
    before: Floats
    called_once: bool


@dataclass(frozen=True, eq=False)
class Link:
    decades: Floats
    branch: Floats
    cross: Floats
    inside: Floats
    why: str = ""
    own: dict[str, Floats] = field(default_factory=dict)
    """The decades by kind of a block and what follows its sum, for whom it is one part of a link."""


def link(source: Place, between: Sequence[Place], end: Place) -> Link:
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


def _chain(source: Place, operations: Sequence[Place], end: Place, whole: Floats) -> Link:
    if source.info.activation is not None and source.kind == "weight" and len(operations) == 1 and operations[0] is end:
        own = _log_ratio(end.before, end.backward)  # an activation called as a function stands between
        if not np.isnan(own).all():
            return Link(_parts(whole, {"weight": own, "activation": whole - own}), *_no_block(whole))
    gap = _gap(source.backward, operations)
    if gap is not None:
        return _around(gap, source, operations, end, whole)
    parts = _gains(source.backward, operations)
    if operations[-1] is not end:
        parts["other"] = parts.get("other", 0.0) + _log_ratio(operations[-1].backward, end.backward)
    return Link(_parts(whole, parts), *_no_block(whole))


def _around(gap: _Gap, source: Place, operations: Sequence[Place], end: Place, whole: Floats) -> Link:
    """Operations in a row up to a gap: then a block whose sum another one follows, or one thing that is not recorded."""
    row, rest = operations[: gap.at], operations[gap.at :]
    if any(np.isnan(p.before).all() for p in row):
        return _unexplained(whole, gap.why)
    start = replace(source, info=row[-1].info, backward=row[-1].backward) if row else source
    parts = _gains(source.backward, row)
    if block := _sum_before(start, rest[:-1], end):
        return _unexplained(whole, block.why) if block.why else replace(block, decades=_parts(whole, _added(parts, block.own)))
    told = {"other": _log_ratio(start.backward, end.before), end.kind: _log_ratio(end.before, end.backward)}
    if len(rest) > 1 or any((np.isnan(value) & ~np.isnan(whole)).any() for value in (*parts.values(), *told.values())):
        return _unexplained(whole, gap.why)
    return Link(_parts(whole, _added(parts, told)), *_no_block(whole), gap.why)


def _sum_before(source: Place, branch: Sequence[Place], end: Place) -> Link | None:
    """A block whose sum another operation follows, end(x + F(x)), as in the residual nets of He et al. 2016."""
    if not branch or np.isnan(end.before).all() or not _same(branch[-1].backward, end.before):
        return None
    added = replace(end, backward=end.before)
    skipped = _log_ratio(source.backward, end.before)
    block = _residual(source, branch, added, skipped)
    return replace(block, own=_added({"skip": skipped}, {end.kind: _log_ratio(end.before, end.backward)}))


def _residual(source: Place, operations: Sequence[Place], end: Place, whole: Floats) -> Link:
    first = operations[0].before
    if np.isnan(first).all():
        return _unexplained(whole, f"the gradient at the input of {operations[0].info.name} cannot be told")
    at = f"{end.info.name} ({end.info.kind})"
    if source.info.readers is not None and source.info.name not in end.info.adds:
        return _unexplained(whole, f"at {at} the input is not added as it is")
    gap = _gap(first, operations)
    if gap is not None and source.info.readers != ONE_BRANCH:
        return _unexplained(whole, f"at {at} there is no sum of the input and one row of operations")
    with np.errstate(divide="ignore", invalid="ignore"):
        branch = np.where(np.isnan(whole), np.nan, first / end.backward)
    squared = 10.0 ** (2.0 * whole)
    cross = squared - 1.0 - branch**2
    if (np.abs(cross) > 2.0 * branch * (1.0 + SAME) + SAME * squared).any():
        return _unexplained(whole, f"at {at} there is no sum of the input and one branch")
    inside = {"other": _log_ratio(first, end.backward)}
    if gap is None:
        inside = _added(_gains(first, operations), {"other": _log_ratio(operations[-1].backward, end.backward)})
    return Link(_parts(whole, {"skip": whole}), branch, cross, _parts(_log_ratio(first, end.backward), inside))


def _gains(start: Floats, operations: Sequence[Place]) -> dict[str, Floats]:
    """log10 of the gains of operations in a row, by kind; ``start`` is the gradient at the input of the first."""
    parts: dict[str, Floats] = {}
    before = start
    for p in operations:
        parts[p.kind] = parts.get(p.kind, 0.0) + _log_ratio(before, p.backward)
        before = p.backward
    return parts


@dataclass(frozen=True)
class _Gap:
    """Where operations are no row: the ``at``-th one's input is not the output of the one before."""

    at: int
    why: str


def _gap(start: Floats, operations: Sequence[Place]) -> _Gap | None:
    """The first; None where there is none. One operation may be left unasked."""
    before, unasked = start, 0
    for i, p in enumerate(operations):
        if np.isnan(p.before).all():
            unasked += 1
            if unasked > 1:
                return _Gap(i, f"the gradient at the input of {p.info.name} cannot be told")
        elif not _same(p.before, before):
            return _Gap(
                i, f"in front of {p.info.name} stands something that is not recorded: a sum, a mean, a dropout, a product"
            )
        before = p.backward
    return None


def _added(one: dict[str, Floats], other: dict[str, Floats]) -> dict[str, Floats]:
    return {**one, **{kind: one[kind] + value if kind in one else value for kind, value in other.items()}}


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


def _unexplained(whole: Floats, why: str) -> Link:
    return Link(_parts(whole, {"other": whole}), *_no_block(whole), why)
