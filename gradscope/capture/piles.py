"""Small tensors of one shape of which the same is asked: they wait in a pile and are read together.

What a hook does at every station is the price of a sampled step on networks of many small layers. So a station finds its
piles once, for as long as its shapes stay as they are, and a hook only lays a tensor on one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import torch
from torch import Tensor

from gradscope.capture.activations import Activation
from gradscope.capture.units import Units

Key = tuple[str, int]
"""A module's name and which of its calls within one forward pass."""
Question = Literal["output", "inputs", "backward", "backward_in"]
"""What a tensor is: a station's output, an activation's inputs, the gradient of an output, that of a module's input."""
SHAPES_LIMIT = 256
"""Piles and scratches that are remembered; more are made where shapes change all the time."""


class Pile:
    """Tensors of one shape and type that wait, the slots that they belong to, and what is asked of all of them."""

    __slots__ = ("activation", "dim", "question", "slots", "tensors", "versions")

    def __init__(self, question: Question, dim: int | None, activation: Activation | None) -> None:
        self.question = question
        self.dim = dim
        """Dimension of the units whose gradient is asked to be non-zero, or whose slope."""
        self.activation = activation
        self.empty()

    def empty(self) -> None:
        self.tensors: list[Tensor] = []
        self.versions: list[int] = []
        """Version counter of each when it was laid here: one that has moved since was overwritten in place."""
        self.slots: list[int] = []

    def take_overwritten(self) -> list[int]:
        """Takes out those that were overwritten before they were read, and says whose they were."""
        now = [t._version for t in self.tensors]
        if now == self.versions:
            return []
        moved = [i for i, (a, b) in enumerate(zip(now, self.versions, strict=True)) if a != b]
        slots = [self.slots[i] for i in moved]
        for i in reversed(moved):
            del self.tensors[i], self.versions[i], self.slots[i]
        return slots


class Memory:
    """What stations teach from sample to sample; a ``Gather`` is one step's, this outlives it. A slot is a place in
    ``keys``.
    """

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.slots: dict[Key, int] = {}
        self.widths: list[int] = []
        self.units: dict[Key, Units] = {}
        """Of what each station made last."""
        self.eager: set[Key] = set()
        """Stations whose output is overwritten in place before it can be read: a copy waits instead."""
        self.latest: object = None
        """What the host knew of the last step's sums."""
        self.filled: list[Pile] = []
        """The piles on which something lies."""
        self._piles: dict[Hashable, Pile] = {}
        self._rooms: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._places: dict[Hashable, tuple[Tensor, list[Tensor]]] = {}
        """By shape, type and device of a tensor: a room and the places of the first, second ... such tensor in it."""

    def slot(self, key: Key, width: int) -> int:
        found = self.slots.get(key)
        if found is None:
            found = self.slots[key] = len(self.keys)
            self.keys.append(key)
            self.widths.append(width)
        self.widths[found] = width
        return found

    def pile(self, question: Question, like: Tensor, dim: int | None = None, activation: Activation | None = None) -> Pile:
        """Where tensors of this shape, type and place wait for the question."""
        key = (question, like.shape, like.dtype, like.device, dim, activation)
        found = self._piles.get(key)
        if found is None:
            if len(self._piles) >= SHAPES_LIMIT:
                self._piles.clear()
            found = self._piles[key] = Pile(question, dim, activation)
        return found

    def forget(self) -> None:
        """Empties every pile."""
        for pile in self.filled:
            pile.empty()
        self.filled = []

    def stacked(self, tensors: list[Tensor], dtype: torch.dtype) -> Tensor:
        """Tensors of one shape as (k, *shape) in ``dtype``, in a scratch that the next call overwrites.

        All shapes share one room for each type: what was written last is what a cache still holds.
        """
        first, k = tensors[0], len(tensors)
        entries = k * first.numel()
        kind = (dtype, first.device)
        room = self._rooms.get(kind)
        if room is None or room.numel() < entries:
            room = self._rooms[kind] = torch.empty(entries, dtype=dtype, device=first.device)
        stack = room[:entries].view(k, *first.shape)
        if first.is_cpu and first.dtype is dtype:  # joining costs less there than a copy each
            return torch.stack(tensors, out=stack)
        key = (first.shape, *kind)
        whole, places = self._places.get(key, (room, []))
        if len(places) < k or whole is not room:
            if len(self._places) >= SHAPES_LIMIT:
                self._places.clear()
            places = list(stack.unbind(0))
            self._places[key] = room, places
        torch._foreach_copy_(places[:k], tensors)
        return stack
