"""A list of parameters in portions, each read by a few operations: what gradients and weights share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gradscope.capture.distributed import Processes
from gradscope.capture.packing import NARROW, SAMPLE, SMALL, Packing, Scratch, local, wide

PORTION = 65_536
"""Entries of small tensors that are read as one: in float64 half of what a core has of fast cache."""


class Portions:
    """A fixed, named list of parameters, and one ``Packing`` for each portion of it: ``parts`` has their places and it."""

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], processes: Processes) -> None:
        self.names = tuple(name for name, _ in named)
        self.entities = tuple((name, 0) for name in self.names)
        self.items = [p for _, p in named]
        self.place = {p: i for i, p in enumerate(self.items)}
        self.processes = processes
        self.special = any(hasattr(p, "to_local") or p.is_complex() or p.layout is not torch.strided for p in self.items)
        """Whether some are shards, complex or sparse, and are not read as they are."""
        self.device = self.items[0].device if self.items else torch.device("cpu")
        self.parts: list[tuple[list[int], Packing]] = []
        shapes = [local(p.detach()).shape for p in self.items]
        for device in dict.fromkeys(p.device for p in self.items):
            mine = [i for i, p in enumerate(self.items) if p.device == device]
            self.parts += [(at, Packing([shapes[i] for i in at], device)) for at in _portions(mine, shapes, device)]
        self.in_order = len(self.parts) == 1 and self.parts[0][0] == list(range(len(self.items)))
        order = [at[j] for at, pack in self.parts for j in pack.order]
        back = sorted(range(len(order)), key=order.__getitem__)
        self._order = None if back == sorted(back) else torch.tensor(back, device=self.device)
        self.on_cpu = all(pack.device.type == "cpu" for _, pack in self.parts)
        # no shards, no samples: an inner product over all is one of each part
        self.plain = not any(pack.big for _, pack in self.parts) and not any(processes.sharded)

        self.passing = self._over_one_another(self.kept)
        """For what is read before the next portion is."""
        self.one, self.other = self._over_one_another(wide), self._over_one_another(wide)
        """The same in float64, where entries are added up."""

    def kept(self, device: torch.device) -> torch.dtype:
        """The type in which entries are kept from one moment to another: what is not read again soon should be small."""
        return torch.float32 if all(p.dtype in NARROW for p in self.items) else wide(device)

    def scratches(self, dtype: Callable[[torch.device], torch.dtype] | None = None) -> list[Scratch]:
        return [Scratch(pack, (dtype or self.kept)(pack.device)) for _, pack in self.parts]

    def widen(self) -> None:
        """Once a parameter is of float64 that was not."""
        self.passing = self._over_one_another(wide)

    def _over_one_another(self, dtype: Callable[[torch.device], torch.dtype]) -> list[Scratch]:
        rooms = {
            device: torch.zeros(max(p.entries for _, p in self.parts if p.device == device), dtype=dtype(device), device=device)
            for device in {pack.device for _, pack in self.parts}
        }
        return [Scratch(pack, room.dtype, room) for _, pack in self.parts for room in [rooms[pack.device]]]

    def weights(self, at: Sequence[int]) -> Sequence[Tensor]:
        """What this process holds of these parameters, to be read without gradient."""
        return [local(self.items[i].detach()) for i in at] if self.special else [self.items[i] for i in at]

    def join(self, parts: list[list[Tensor]]) -> Tensor:
        """What the packings say, in order -> (n,) in list order on the first device."""
        pieces = [p if p.device == self.device else p.to(self.device) for part in parts for p in part]
        if not pieces:
            return torch.empty(0)
        whole = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return whole if self._order is None else whole.index_select(0, self._order)

    def dot(self, a: Sequence[Scratch], b: Sequence[Scratch]) -> Tensor:
        """Inner product over all parameters, a scalar."""
        pairs = zip(self.one, a, self.other, b, strict=True)
        return self.total([self.product(k, x.widened(u), y.widened(v)) for k, (x, u, y, v) in enumerate(pairs)])

    def product(self, k: int, a: Scratch, b: Scratch) -> list[Tensor]:
        """Part ``k`` of an inner product, for ``total``, in the type of the scratches."""
        return [torch.dot(a.flat, b.flat)] if self.plain else self.parts[k][1].dots(a.flat, b.flat)

    def total(self, products: list[list[Tensor]]) -> Tensor:
        if self.plain:
            return torch.stack([p.to(self.device) for (p,) in products]).sum()
        return self.processes.sums(self.join(products)).sum()


def _portions(mine: Sequence[int], shapes: Sequence[torch.Size], device: torch.device) -> list[list[int]]:
    """The places in ``mine``, in portions whose small tensors stay in a CPU's cache from one statistic to the next.

    They are about ``PORTION`` each: what is left over after them would cost as many operations as a whole one.
    """
    if device.type != "cpu":
        return [list(mine)]
    entries = {i: n if (n := shapes[i].numel()) <= SMALL else SAMPLE for i in mine}
    whole = sum(entries.values())
    limit = max(1, -(-whole // max(1, round(whole / PORTION))))
    portions: list[list[int]] = [[]]
    filled = 0
    for i in sorted(mine, key=lambda i: (shapes[i].numel(), i)):
        if filled >= limit * len(portions):
            portions.append([])
        portions[-1].append(i)
        filled += entries[i]
    return portions
