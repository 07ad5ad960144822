"""Layers and evidence in words: the same words in the terminal and in figures."""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.numbers import number
from gradscope.record.finding import Finding
from gradscope.record.manifest import Status
from gradscope.record.run import Run

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(text: str, limit: int | None = None) -> str:
    """A name from a model or a config, as data: control characters spelt out, cut in the middle to ``limit`` characters."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    if limit is None or len(shown) <= limit:
        return shown
    head = (limit - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def power_of_ten(exponent: int) -> str:
    """``10⁻³``; no mathematical typesetting is needed for it."""
    return {0: "1", 1: "10"}.get(exponent, "10" + str(exponent).translate(_SUPERSCRIPT))


def span(of: tuple[int, int]) -> str:
    """An inclusive range: ``7``, ``0-199``."""
    return f"{of[0]:,}" if of[0] == of[1] else f"{of[0]:,}-{of[1]:,}"


def count(of: int, noun: str) -> str:
    """``1 step``, ``1,000 steps``."""
    return f"{of:,} {noun}{'' if of == 1 else 's'}"


def ended(run: Run) -> str:
    """``finished``, ``stopped by GS101 vanishing-gradients``, ``failed: RuntimeError: out of rows``."""
    status, reason = run.status, plain(run.manifest.reason or "", 120)
    if status is Status.STOPPED and reason:
        return f"{status.value} by {reason.partition(':')[0]}"
    return f"{status.value}: {reason}" if status is Status.FAILED and reason else status.value


def forward_order(run: Run | None, layers: Sequence[str]) -> tuple[str, ...]:
    """The names among which these layers stand, in forward order: the trunk if it has them all, else layers, or parameters."""
    if run is None:
        return tuple(layers)
    catalogue = run.catalogue
    choices = (
        tuple(layer.name for layer in catalogue.layers if layer.trunk),
        tuple(layer.name for layer in catalogue.layers if layer.parameters),
        tuple(layer.name for layer in catalogue.layers),
        tuple(parameter.name for parameter in catalogue.parameters),
    )
    return next((order for order in choices if set(layers) <= set(order)), tuple(layers))


def fold(layers: Sequence[str], order: Sequence[str]) -> str:
    """Layers as ranges: ``layers.0-layers.22 (12 of 20)``; neighbours in ``order`` are joined."""
    place = {name: i for i, name in enumerate(order)}
    spans = contiguous([place[name] for name in layers if name in place])
    parts = [plain(order[a]) if a == b else f"{plain(order[a])}-{plain(order[b])}" for a, b in spans]
    if len(parts) > 4:
        parts = [*parts[:2], "...", parts[-1]]
    return f"{', '.join(parts)} ({len(layers):,} of {len(order):,})"


def contiguous(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Inclusive ranges of neighbouring positions, ascending."""
    spans: list[tuple[int, int]] = []
    for at in sorted(set(positions)):
        if spans and at == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], at)
        else:
            spans.append((at, at))
    return spans


def evidence(finding: Finding) -> str:
    """Value against threshold: what was measured and what it was held against."""
    signal = plain(finding.signal)
    if finding.state != "finite":
        return f"{signal} is {number(finding.value)}"
    value, limit = abs(finding.value), abs(finding.threshold)
    below = finding.value < finding.threshold
    text = f"{signal} {number(finding.value)}, {'under' if below else 'above'} the threshold {number(finding.threshold)}"
    if value > 0.0 and limit > 0.0:
        times = limit / value if below else value / limit
        text += f" by {number(times, 2)} times" if times >= 1.05 else ""
    elif finding.value == 0.0:
        text += ": exactly nothing"
    return text


def chance(finding: Finding) -> str | None:
    """The noise floor: what chance alone could give at this width."""
    if finding.noise_floor is None:
        return None
    side = "no less" if finding.value < finding.threshold else "no more"
    return f"chance alone gives {side} than {number(finding.noise_floor)} at this width"
