"""What stands between two neighbouring stations: a row of operations, a residual block, or something that is not recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gradscope.record.grid import Floats
from gradscope.record.manifest import LayerInfo

KINDS = ("weight", "activation", "norm", "skip", "fixed", "other")
ONE_BRANCH = 2
"""Operations that read a stream which a single branch leaves: the first of the branch, and the sum or the shortcut's first."""
TOGETHER = "together"
"""How a reason ends where it is known what stands between two operations, and only its parts are not."""
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
    past: Floats
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
    if end.kind == "weight" and end.info.source is None and np.isnan(end.before).all():  # as where another tower begins
        return _unexplained(whole, f"whether {end.info.name} takes the output of {source.info.name} cannot be told")
    if holds and (np.isnan(operations[0].before).all() or _joint(source, operations[0], source.backward) is None):
        return _module(source, operations, end, whole)
    return _chain(source, operations, end, whole)


def _chain(source: Place, operations: Sequence[Place], end: Place, whole: Floats) -> Link:
    gap = _gap(source, operations, source.backward)
    if gap is not None:
        return _around(gap, source, operations, end, whole)
    parts = _gains(source, operations, source.backward)
    if operations[-1] is not end:
        parts = _added(parts, {"other": _log_ratio(operations[-1].backward, end.backward)})
    return Link(_parts(whole, parts), *_no_block(whole))


def _around(gap: _Gap, source: Place, operations: Sequence[Place], end: Place, whole: Floats) -> Link:
    """Operations in a row up to a gap: then a residual block, or one thing that is not recorded."""
    row, rest = operations[: gap.at], operations[gap.at :]
    if any(np.isnan(p.before).all() for p in row):
        return _unexplained(whole, gap.why)
    start = row[-1] if row else source
    parts = _gains(source, row, source.backward)
    if block := _block(start, rest, end):
        return _unexplained(whole, block.why) if block.why else replace(block, decades=_parts(whole, _added(parts, block.own)))
    told = {"other": _log_ratio(start.backward, end.before), end.kind: _log_ratio(end.before, end.backward)}
    if len(rest) > 1 or any((np.isnan(value) & ~np.isnan(whole)).any() for value in (*parts.values(), *told.values())):
        return _unexplained(whole, gap.why)
    return Link(_parts(whole, _added(parts, told)), *_no_block(whole), gap.why)


def _block(source: Place, rest: Sequence[Place], end: Place) -> Link | None:
    """A block that ends in its sum, or whose sum another operation follows: end(x + F(x)), as in the nets of He et al. 2016."""
    if rest[-1] is not end:
        return _module(source, rest, end, _log_ratio(source.backward, end.backward))
    branch = rest[:-1]
    if not branch or np.isnan(end.before).all():
        return None
    skipped = _log_ratio(source.backward, end.before)
    block = _residual(source, branch, replace(end, backward=end.before), skipped)
    if block.why and not _same(branch[-1].backward, end.before):
        return None
    return replace(block, own=_added({"skip": skipped}, {end.kind: _log_ratio(end.before, end.backward)}))


def _module(source: Place, operations: Sequence[Place], end: Place, whole: Floats) -> Link:
    """A block that is a module of its own; the gradient at its sum is that of all that the sum takes as it is."""
    if end.info.ends_in is None:
        return replace(_residual(source, operations, end, whole), own={"skip": whole})
    added = next((p for p in reversed(operations) if p.info.name in end.info.adds and p.info.readers == 1), None)
    if added is None:
        return _unexplained(whole, f"the gradient at the sum in {end.info.name} cannot be told")
    skipped = _log_ratio(source.backward, added.backward)
    own = {"skip": skipped, "activation": _log_ratio(added.backward, end.backward)}
    block = _residual(source, operations, replace(end, backward=added.backward), skipped)
    return _unexplained(whole, block.why) if block.why else replace(block, decades=_parts(whole, own), own=own)


def _residual(source: Place, operations: Sequence[Place], end: Place, whole: Floats) -> Link:
    at, shortcut = f"{end.info.name} ({end.info.kind})", operations[:0]
    if source.info.readers is not None and source.info.name not in end.info.adds:
        operations, shortcut = _two_ways(source, operations, end)
        if not shortcut:
            inner = next((p.info.name for p in operations if source.info.name in p.info.adds), None)
            several = f"{at} has several sums, and the one in front of {inner} is no module's output"
            return _unexplained(whole, several if inner else f"at {at} the input is not added as it is")
    if source.info.name in end.info.adds and _beginnings(source, operations) > 1:
        return _of_several(whole)
    first = operations[0]
    if np.isnan(first.before).all() or first.info.through:
        return _unexplained(whole, f"the gradient at the input of {first.info.name} cannot be told")
    gap = _gap(first, operations[1:], first.backward)
    if gap is not None and (shortcut or source.info.readers != ONE_BRANCH):
        return _unexplained(whole, f"at {at} there is no sum of the input and one row of operations")
    with np.errstate(divide="ignore", invalid="ignore"):
        branch = np.where(np.isnan(whole), np.nan, first.before / end.backward)
        past = np.where(np.isnan(whole), np.nan, shortcut[0].before / end.backward if shortcut else 1.0)
    squared = 10.0 ** (2.0 * whole)
    cross = squared - past**2 - branch**2
    if (np.abs(cross) > 2.0 * past * branch * (1.0 + SAME) + SAME * squared).any():
        return _unexplained(whole, f"at {at} there is no sum of the input and one branch")
    within = _log_ratio(first.before, end.backward)
    inside = {"other": within}
    if gap is None:
        told = {first.kind: _log_ratio(first.before, first.backward)}
        rest = {"other": _log_ratio(operations[-1].backward, end.backward)}
        inside = _added(_added(told, _gains(first, operations[1:], first.backward)), rest)
    return Link(_parts(whole, {"skip": whole}), past, branch, cross, _parts(within, inside))


def _beginnings(source: Place, operations: Sequence[Place]) -> int:
    """How many operations read the source as it is."""
    return sum(p.info.source == source.info.name and not p.info.through for p in operations)


def _of_several(whole: Floats) -> Link:
    """A block x + F(x) whose branch begins in several operations, as attention does with query, key and value.

    What the branch sends back is their sum, whose norm is not recorded: the block's decades are known, g_F and the angle not.
    """
    past, unknown, _, inside = _no_block(whole)
    past = np.where(np.isnan(whole), np.nan, 1.0)
    return Link(_parts(whole, {"skip": whole}), past, unknown, unknown, inside)


def _two_ways(source: Place, operations: Sequence[Place], end: Place) -> tuple[Sequence[Place], Sequence[Place]]:
    """A branch, and the shortcut beside it, which has weights of its own: both read the source alone, and the sum takes them.

    The shorter is the shortcut; it is empty where they are not these two.
    """
    starts = [i for i, p in enumerate(operations) if p.info.source == source.info.name]
    if source.info.readers != ONE_BRANCH or len(starts) != ONE_BRANCH or starts[0] != 0:
        return operations, []
    branch, shortcut = sorted((operations[: starts[1]], operations[starts[1] :]), key=len, reverse=True)
    start, last = shortcut[0], shortcut[-1]
    told = not (np.isnan(start.before).all() or start.info.through) and _gap(start, shortcut[1:], start.backward) is None
    added = last.info.name in end.info.adds and _same(last.backward, end.backward)
    return (branch, shortcut) if told and added else (operations, [])


def _gains(source: Place, operations: Sequence[Place], before: Floats) -> dict[str, Floats]:
    """log10 of the gains of operations in a row, by kind; ``before`` is the gradient at the input of the first."""
    parts: dict[str, Floats] = {}
    for p in operations:
        if kind := _joint(source, p, before):
            parts = _added(parts, {kind: _log_ratio(before, p.before)})
            before = p.before
        parts = _added(parts, {p.kind: _log_ratio(before, p.backward)})
        source, before = p, p.backward
    return parts


def _joint(source: Place, end: Place, before: Floats) -> str | None:
    """The kind of what stands between two operations in a row, empty where nothing does; None where that is not known."""
    if _same(end.before, before):
        return ""
    if source.info.readers != 1 or end.info.source != source.info.name or not end.info.through:
        return None
    kinds = {"activation" if word == "activation" else "fixed" for word in end.info.through}
    return kinds.pop() if len(kinds) == 1 else None


@dataclass(frozen=True)
class _Gap:
    """Where operations are no row: the ``at``-th one's input is not the output of the one before."""

    at: int
    why: str


def _gap(source: Place, operations: Sequence[Place], before: Floats) -> _Gap | None:
    """The first; None where there is none. One operation may be left unasked."""
    unasked = 0
    for i, p in enumerate(operations):
        if np.isnan(p.before).all():
            unasked += 1
            if unasked > 1 or p.info.through:
                return _Gap(i, f"the gradient at the input of {p.info.name} cannot be told")
        elif _joint(source, p, before) is None:
            between = f"{' and '.join(dict.fromkeys(p.info.through))} {TOGETHER}" if p.info.through else "a sum, a product"
            return _Gap(i, f"in front of {p.info.name} stands something that is not recorded: {between}")
        source, before = p, p.backward
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


def _no_block(whole: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    nothing = np.full(len(whole), np.nan)
    return nothing, nothing, nothing, np.full((len(whole), len(KINDS)), np.nan)


def _unexplained(whole: Floats, why: str) -> Link:
    return Link(_parts(whole, {"other": whole}), *_no_block(whole), why)
