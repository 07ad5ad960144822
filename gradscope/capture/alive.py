"""Which units of the stations passed something on in a step: one that did in no row of any micro-batch is dead."""

from __future__ import annotations

from collections.abc import Container, Iterator

import torch
from torch import Tensor


class Alive:
    """Flags by station and unit, of forward passes that count only once a gradient has come back to them."""

    def __init__(self) -> None:
        self._flags: dict[tuple[int, tuple[int, ...], torch.Size], tuple[int, list[int], Tensor]] = {}
        self.by_slope: set[int] = set()
        """Stations whose dead units are known by the activation's slope, not only by a gradient that is 0."""

    def add(self, slots: list[int], units: Tensor, turn: int = -1) -> None:
        """Which units (k, units) of k stations passed something on in a turn; -1 for what counts in any case."""
        key = (turn, tuple(slots), units.shape)
        known = self._flags.get(key)
        self._flags[key] = (turn, slots, units if known is None else known[2] | units)

    def drop(self, turns: Container[int]) -> None:
        self._flags = {key: flags for key, flags in self._flags.items() if flags[0] not in turns}

    def by_width(self, turns: Container[int], device: torch.device) -> Iterator[tuple[list[int], Tensor]]:
        """Of these turns, by the number of units: stations, each once, and which of their units did so in any of them."""
        widths: dict[int, tuple[list[int], list[Tensor]]] = {}
        for turn, slots, units in self._flags.values():
            if turn < 0 or turn in turns:
                mine = widths.setdefault(units.shape[1], ([], []))
                mine[0].extend(slots)
                mine[1].append(units.to(device))
        for slots, flags in widths.values():
            yield _of_each(slots, torch.cat(flags))


def _of_each(slots: list[int], units: Tensor) -> tuple[list[int], Tensor]:
    once = list(dict.fromkeys(slots))
    if len(once) < len(slots):  # a station comes once a micro-batch
        place = {slot: i for i, slot in enumerate(once)}
        at = torch.tensor([place[s] for s in slots], device=units.device)
        units = units.new_zeros((len(once), units.shape[1]), dtype=torch.float32).index_add_(0, at, units.float()) > 0
    return once, units
