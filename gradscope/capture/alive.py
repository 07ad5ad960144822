"""Which units of the stations passed something on in a step: one that did in no row of any micro-batch is dead."""

from __future__ import annotations

from collections.abc import Container, Iterator

import torch
from torch import Tensor

Flags = tuple[list[int], list[Tensor]]
"""Stations, and which of their units (k, units) passed something on, k stations at a time."""


class Alive:
    """Flags by station and unit, of forward passes that count only once a gradient has come back to them."""

    def __init__(self) -> None:
        self._flags: dict[tuple[int, tuple[int, ...], torch.Size], tuple[int, list[int], Tensor]] = {}
        self.by_slope: set[int] = set()
        """Stations whose dead units are known by the activation's slope, not only by a gradient that is 0."""

    def add(self, slots: list[int], units: Tensor, turn: int = -1) -> None:
        """Which units (k, units) of k stations passed something on: by their slope in a turn, or by their gradient, which
        counts in any case (-1).
        """
        key = (turn, tuple(slots), units.shape)
        known = self._flags.get(key)
        self._flags[key] = (turn, slots, units if known is None else known[2] | units)

    def drop(self, turns: Container[int]) -> None:
        self._flags = {key: flags for key, flags in self._flags.items() if flags[0] not in turns}

    def by_width(self, turns: Container[int], device: torch.device) -> Iterator[tuple[list[int], Tensor]]:
        """Of these turns, by the number of units: stations, each once, and which of their units did so in any of them."""
        widths: dict[int, tuple[Flags, Flags]] = {}
        for turn, slots, units in self._flags.values():
            if turn < 0 or turn in turns:
                found, flags = widths.setdefault(units.shape[1], (([], []), ([], [])))[turn >= 0]
                found += slots
                flags.append(units.to(device))
        for by_gradient, by_slope in widths.values():
            if set(by_gradient[0]).isdisjoint(by_slope[0]):
                yield _of_each(by_gradient[0] + by_slope[0], by_gradient[1] + by_slope[1])
            else:
                yield _by_both(*_of_each(*by_gradient), *_of_each(*by_slope))


def _of_each(slots: list[int], flags: list[Tensor]) -> tuple[list[int], Tensor]:
    units = torch.cat(flags)
    once = list(dict.fromkeys(slots))
    if len(once) < len(slots):  # a station comes once a micro-batch
        place = {slot: i for i, slot in enumerate(once)}
        at = torch.tensor([place[s] for s in slots], device=units.device)
        units = units.new_zeros((len(once), units.shape[1]), dtype=torch.float32).index_add_(0, at, units.float()) > 0
    return once, units


def _by_both(slots: list[int], reached: Tensor, sloped: list[int], passing: Tensor) -> tuple[list[int], Tensor]:
    """A layer before a function has both: a unit on the function's flat part is dead though a rest of gradient comes through,
    and so is one that something behind the function blocks. Of a layer without any gradient the slope alone tells.
    """
    sloping = {slot: i for i, slot in enumerate(sloped)}
    passing = torch.cat([passing, passing.new_ones(1, passing.shape[1])])  # for those without a function
    at = torch.tensor([sloping.pop(slot, -1) for slot in slots], device=passing.device) % len(passing)
    both = (reached | ~reached.any(1, keepdim=True)) & passing[at]
    rest = torch.tensor([*sloping.values()], dtype=torch.long, device=passing.device)
    return [*slots, *sloping], torch.cat([both, passing[rest]])
