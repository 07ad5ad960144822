"""What was read at the stations in a step, by column: numbers and vectors, until one vector is made of each column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import groupby

import torch
from torch import Tensor

from gradscope.capture.packing import wide


class Values:
    """Values of forward passes that count only once a gradient has come back to them."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, str, list[int], Tensor | float]] = []

    def add(self, column: str, slots: list[int], values: Tensor, turn: int = -1) -> None:
        """One value for each slot, of a turn; -1 for what counts in any case.

        On a CPU a single one is kept as a number: a small tensor that lives through the step takes a place in memory that a
        large activation has just left, so that the next one must come from the system (measured: 20,000 page faults a step
        more where activations take 4 MB).
        """
        kept = values.item() if values.is_cpu and len(slots) == 1 else values.reshape(-1)
        self._kept.append((turn, column, slots, kept))

    def drop(self, turns: Container[int]) -> None:
        self._kept = [kept for kept in self._kept if kept[0] not in turns]

    def joined(self, turns: Container[int], device: torch.device) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
        """Of these turns, by column: a vector on the device, and the slots that its entries belong to."""
        parts: defaultdict[str, list[Tensor | float]] = defaultdict(list)
        slots: defaultdict[str, list[int]] = defaultdict(list)
        for turn, column, at, values in self._kept:
            if turn < 0 or turn in turns:
                parts[column].append(values)
                slots[column] += at
        return {column: _one(found, device) for column, found in parts.items()}, dict(slots)


def _one(parts: Sequence[Tensor | float], device: torch.device) -> Tensor:
    vectors: list[Tensor] = []
    for kind, run in groupby(parts, key=type):
        some = list(run)
        vectors += [torch.tensor(some, dtype=wide(device), device=device)] if kind is float else some  # type: ignore[arg-type]
    return torch.cat([v if v.device == device else v.to(device) for v in vectors])
