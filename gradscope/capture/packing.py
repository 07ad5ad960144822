"""Norms and counts of many tensors with few operations, exact where float32 would underflow.

Small tensors are copied into a flat scratch, sorted by size, so that all tensors of one size are the rows of one matrix and
a statistic of all of them is one operation: what compares entries in the type they have, what adds them up in float64. Large
ones are read in place. The squares of a float32 underflow near 1e-23 and overflow near 1e19: a CPU, which is fast in float32
and is not waited for, reads again in float64 what falls outside that range; other devices add up in float64 at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor

SMALL = 8192
"""Elements up to which copying into the scratch is cheaper than reading in place (measured on CPUs; any value is right)."""
ROW = 512
"""Entries whose squares are added up in float32 at the most: no slower than longer ones (measured), and where all entries are
equal, as in the gradient of a mean, rounding goes one way, so that 4,096 would be off by 4e-6, and these by 5e-7."""
SAMPLE = 4096
"""Elements of a large tensor that stand for it where the past is compared with the present (displacement, cosine)."""
SAFE = (1e-11, 1e15)
"""A float32 norm inside this range is right to rounding, and so is a total inside it, whatever of its parts was too small for
float32. A square that float32 loses is at most 1.2e-38, its smallest normal number, where what is smaller is flushed to 0; of
the square of a norm of n entries at most 1.2e-38 n is lost: 1e-7 of it at 1e-11 and n = 1e9."""


_KIND: Callable[[Tensor], tuple[torch.dtype, torch.layout]] = attrgetter("dtype", "layout")
PLAIN = {(torch.float32, torch.strided)}
NARROW = {torch.float32, torch.float16, torch.bfloat16, torch.complex64}
"""Types whose values float32 holds as they are."""


def kinds_of(tensors: Iterable[Tensor]) -> set[tuple[torch.dtype, torch.layout]]:
    """Types and layouts among the tensors; ``PLAIN`` where each is of float32 and dense."""
    return set(map(_KIND, tensors))


def local(tensor: Any) -> Tensor:
    """What this process holds of a tensor, as real numbers: the shard of a ``DTensor``, the stored values of a sparse one."""
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
        if hasattr(tensor, "wait"):
            tensor = tensor.wait()
    if tensor.layout != torch.strided:
        tensor = tensor.coalesce().values()
    whole: Tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return whole


def wide(device: torch.device) -> torch.dtype:
    """The widest float that the device has: MPS knows no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def exact_norm(tensor: Tensor) -> Tensor:
    """L2 norm of a tensor, 0-dim, added up in float64."""
    return cast(Tensor, torch.linalg.vector_norm(tensor, dtype=wide(tensor.device)))


def long_norm(tensor: Tensor) -> Tensor:
    """L2 norm of a large tensor, 0-dim, in float64.

    A CPU that adds up float32 squares one after the other is off by 1e-4 at four million; in rows of ``ROW`` entries, their
    norms joined in float64, it is no slower.
    """
    if tensor.device.type != "cpu" or tensor.dtype is torch.float64 or not tensor.is_contiguous():
        return exact_norm(tensor)
    flat = tensor.reshape(-1)
    rows = flat.numel() // ROW
    norms = torch.linalg.vector_norm(flat[: rows * ROW].view(rows, ROW), dim=1, dtype=torch.float32)
    norm: Tensor = torch.linalg.vector_norm(norms, dtype=torch.float64)
    if rows * ROW < flat.numel():
        norm = torch.hypot(norm, exact_norm(flat[rows * ROW :]))
    return norm if SAFE[0] <= norm.item() <= SAFE[1] else exact_norm(tensor)


def short_norms(stacked: Tensor) -> Tensor:
    """L2 norms (k,) of k tensors (k, *shape) that were copied one behind the other, in float64; see ``long_norm``."""
    if stacked.device.type != "cpu" or stacked.dtype is torch.float64:
        return cast(Tensor, torch.linalg.vector_norm(stacked.reshape(len(stacked), -1), dim=1, dtype=wide(stacked.device)))
    flat = stacked.reshape(len(stacked), -1)
    whole = flat.shape[1] // ROW * ROW
    if whole:  # float32 sums of squares stay right while they are short
        norms: Tensor = torch.linalg.vector_norm(flat[:, :whole].view(len(flat), -1, ROW), dim=2).double()
        norms = torch.linalg.vector_norm(norms, dim=1)
        if whole < flat.shape[1]:
            norms = torch.hypot(norms, torch.linalg.vector_norm(flat[:, whole:], dim=1).double())
    else:
        norms = torch.linalg.vector_norm(flat, dim=1).double()
    if suspect := [i for i, norm in enumerate(norms.tolist()) if not SAFE[0] <= norm <= SAFE[1]]:
        norms[suspect] = torch.linalg.vector_norm(stacked[suspect].reshape(len(suspect), -1).double(), dim=1)
    return norms


class Scratch:
    """A flat copy of the small tensors of a packing, then an even sample of each large one, with views into it.

    ``rows`` are the small tensors as one (count, size) matrix per size, ``samples`` the pieces that stand for the large ones.
    It lies at the beginning of ``room``, where that is given.
    """

    def __init__(self, packing: Packing, dtype: torch.dtype, room: Tensor | None = None) -> None:
        small = [packing.sizes[i] for i in packing.small]
        samples = [packing.sampled(i) for i in packing.big]
        if room is None:
            room = torch.zeros(packing.entries, dtype=dtype, device=packing.device)
        self.flat = room[: packing.entries]
        self.small = self.flat[: sum(small)]
        pieces = torch.split(self.flat, small + samples)
        self.views = [v.view(packing.shapes[i]) for v, i in zip(pieces, packing.small, strict=False)]
        self.samples = pieces[len(small) :]
        self.rows = packing.matrices(self.small)
        self.runs = packing.runs(self.small)

    def widened(self, narrow: Scratch) -> Scratch:
        """Takes the entries of another, whose type this one's holds; gives itself."""
        self.flat.copy_(narrow.flat)
        return self


class Packing:
    """Statistics of a fixed list of tensors of fixed shapes, all on one device; each result is (n,), in pieces, in ``order``.

    ``tensors`` given to the methods are parallel to the ``shapes`` of the constructor; a ``None`` among them reads as zeros
    and is for the caller to mark as absent.
    """

    def __init__(self, shapes: Sequence[torch.Size], device: torch.device) -> None:
        self.shapes = tuple(shapes)
        self.sizes = sizes = tuple(s.numel() for s in shapes)
        self.device = device
        self.dtype = wide(device)
        small = sorted((i for i, n in enumerate(sizes) if n <= SMALL), key=lambda i: (sizes[i], self.shapes[i], i))
        self.small = small
        self.big = [i for i, n in enumerate(sizes) if n > SMALL]
        self.order = [*small, *self.big]
        self.entries = sum(sizes[i] for i in small) + sum(map(self.sampled, self.big))
        self.groups: list[tuple[int, int]] = []  # (count, size) of each run of equal sizes
        for i in small:
            if self.groups and self.groups[-1][1] == sizes[i]:
                self.groups[-1] = (self.groups[-1][0] + 1, sizes[i])
            else:
                self.groups.append((1, sizes[i]))

    def load(
        self, scratch: Scratch, tensors: Sequence[Tensor | None], *, whole: bool, alike: bool = False, sampled: bool = True
    ) -> None:
        """Copies the small tensors and, where ``sampled``, the samples of the large ones into the scratch by a few fused calls.

        ``whole`` says that all are there and have their shapes: nothing is looked at one by one. ``alike``, that all of these
        have the scratch's own type: on a CPU those of one shape are then joined, which costs less than a copy each.
        """
        if whole:
            all_there = cast(Sequence[Tensor], tensors)
            samples = [all_there[i].reshape(-1)[:: self._stride(i)] for i in self.big] if sampled else []
            targets = [*scratch.samples] if sampled else []
            if alike and self.device.type == "cpu":
                for at, joined in scratch.runs:
                    (torch.cat if self.shapes[at[0]] else torch.stack)([all_there[i] for i in at], out=joined)
            else:
                targets += scratch.views
                samples += [all_there[i] for i in self.small]
            if targets:
                torch._foreach_copy_(targets, samples)
            return
        into, source = [], []
        for view, i in zip(scratch.views, self.small, strict=True):
            tensor = tensors[i]
            if tensor is None:
                view.zero_()
            elif tensor.shape == view.shape:
                into.append(view)
                source.append(tensor)
            else:  # the stored values of a sparse one
                view.zero_()
                view.view(-1)[: tensor.numel()].copy_(tensor.reshape(-1))
        for piece, i in zip(scratch.samples, self.big, strict=True) if sampled else ():
            tensor = tensors[i]
            if tensor is not None and tensor.numel() == self.sizes[i]:
                into.append(piece)
                source.append(tensor.reshape(-1)[:: self._stride(i)])
            else:
                piece.zero_()
        if into:
            torch._foreach_copy_(into, source)

    def matrices(self, small: Tensor) -> list[Tensor]:
        """The entries of the small tensors as one (count, size) matrix per size."""
        places = torch.split(small, [c * n for c, n in self.groups])
        return [p.view(c, n) for p, (c, n) in zip(places, self.groups, strict=True)]

    def runs(self, small: Tensor) -> list[tuple[list[int], Tensor]]:
        """The small tensors of one shape, and where their entries lie, joined along their first dimension."""
        runs: dict[torch.Size, list[int]] = {}
        for i in self.small:
            runs.setdefault(self.shapes[i], []).append(i)
        places = torch.split(small, [len(at) * self.sizes[at[0]] for at in runs.values()])
        return [
            (at, place.view(len(at) * shape[0], *shape[1:]) if shape else place)
            for (shape, at), place in zip(runs.items(), places, strict=True)
        ]

    # ---- statistics: ``scratch`` holds what ``load`` read of the same ``tensors``

    def norms(self, scratch: Scratch, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        """L2 norm of each tensor, the small ones in the scratch's type."""
        small = [torch.linalg.vector_norm(r, dim=1) for r in scratch.rows]
        return self._gather(small, self._big_norms(tensors)) if self.big else small

    def maxima(self, scratch: Scratch, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        """Largest absolute entry of each tensor; NaN where there is one."""
        rest = []
        for t in self._bigs(tensors):
            low, high = torch.aminmax(t)
            rest.append(torch.maximum(-low, high))
        small = [r.abs().amax(1) if r.shape[1] else r.new_zeros(len(r)) for r in scratch.rows]
        return self._gather(small, rest)

    def zeros(self, scratch: Scratch, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        """Entries of each tensor that are exactly 0. A comparison whose result is a float is the one that sums fast."""
        rest = [t.numel() - torch.count_nonzero(t) for t in self._bigs(tensors)]
        zero = (torch.eq(r, 0, out=torch.empty_like(r, dtype=torch.float32)) for r in scratch.rows)  # counts up to 2^24 exactly
        return self._gather([r.sum(1) for r in zero], rest)

    def nonfinite(self, scratch: Scratch, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        """Entries of each tensor that are NaN or infinite: x - x is 0 for all others, and cheaper than isfinite."""
        rest = [torch.count_nonzero(t - t) for t in self._bigs(tensors)]
        return self._gather([(r - r).nan_to_num_(nan=1.0).sum(1) for r in scratch.rows], rest)

    def dots(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """Inner product of each tensor of one scratch's ``flat`` with its like in another's; samples count for the whole."""
        pieces = torch.split(a * b, [c * n for c, n in self.groups] + [self.sampled(i) for i in self.big])
        sums = [p.view(c, n).sum(1) for p, (c, n) in zip(pieces, self.groups, strict=False)]
        rest = pieces[len(self.groups) :]
        return self._gather(sums, [p.sum() * (self.sizes[i] / p.numel()) for p, i in zip(rest, self.big, strict=True)])

    def sampled(self, i: int) -> int:
        """How many elements stand for a large tensor."""
        return -(-self.sizes[i] // self._stride(i))

    def pieces(self, flat: Tensor) -> dict[int, Tensor]:
        """What a scratch's ``flat`` holds of each tensor."""
        sizes = [self.sizes[i] for i in self.small] + [self.sampled(i) for i in self.big]
        return dict(zip(self.order, torch.split(flat, sizes), strict=True))

    # ---- inside

    def _bigs(self, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        if not self.big:
            return []
        zero = torch.zeros(1, device=self.device)
        return [zero if (t := tensors[i]) is None or not t.numel() else t for i in self.big]

    def _big_norms(self, tensors: Sequence[Tensor | None]) -> list[Tensor]:
        bigs = self._bigs(tensors)
        if self.device.type == "cpu":
            return [long_norm(t) for t in bigs]
        return list(torch._foreach_norm(bigs, 2, self.dtype))

    def _stride(self, i: int) -> int:
        return -(-self.sizes[i] // SAMPLE)

    def _gather(self, small: list[Tensor], big: Sequence[Tensor]) -> list[Tensor]:
        parts = [p.to(self.dtype) for p in small]
        if big:
            parts.append(torch.stack([b.to(self.dtype) for b in big]))
        return parts
