"""Several processes: which values are shards of one, and how they become the whole.

Under DDP every rank holds the same averaged gradient, so nothing is exchanged for parameters; layer statistics are sums
over the local rows and are added up. Under FSDP2 a gradient is a shard: squares and counts are summed over the shards'
group, maxima compared. Every rank makes the same calls at the same steps; rank 0 alone records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Processes:
    """The group of processes that train one model together; ``world`` is 1 where there is no such group."""

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
        self.world, self.rank = 1, 0
        self.sharded: list[bool] = [_is_sharded(p) for p in parameters]
        self._mesh_group: Any = None
        if not (dist.is_available() and dist.is_initialized()):
            return
        self.replicated = isinstance(model, nn.parallel.DistributedDataParallel)
        if self.replicated or any(hasattr(p, "device_mesh") for p in parameters):
            self.world, self.rank = dist.get_world_size(), dist.get_rank()
        first: Any = next((p for p, sharded in zip(parameters, self.sharded, strict=True) if sharded), None)
        if first is not None:  # replicas of a shard (HSDP) must not be counted twice: only the sharded dimension's group
            dims = [i for i, place in enumerate(first.placements) if place.is_shard()]
            self._mesh_group = first.device_mesh.get_group(dims[0])

    @property
    def many(self) -> bool:
        return self.world > 1

    def norms(self, local: Tensor) -> Tensor:
        """Norms (n,) of this process's shards -> norms of the whole tensors."""
        if self._mesh_group is None:
            return local
        return self._where_sharded(local, self._reduce(local.square(), dist.ReduceOp.SUM, self._mesh_group).sqrt())

    def sums(self, local: Tensor) -> Tensor:
        """Counts or inner products (n,) of shards -> of the whole."""
        if self._mesh_group is None:
            return local
        return self._where_sharded(local, self._reduce(local, dist.ReduceOp.SUM, self._mesh_group))

    def maxima(self, local: Tensor) -> Tensor:
        if self._mesh_group is None:
            return local
        return self._where_sharded(local, self._reduce(local, dist.ReduceOp.MAX, self._mesh_group))

    def add_up(self, values: Tensor) -> Tensor:
        """Sums over all processes, whatever holds the parameters: statistics of the rows of the batch."""
        return self._reduce(values, dist.ReduceOp.SUM, None) if self.many else values

    def any(self, flags: Tensor) -> Tensor:
        return self._reduce(flags.to(torch.uint8), dist.ReduceOp.MAX, None) > 0 if self.many else flags

    def agree(self, value: int) -> int:
        """Rank 0's value on every rank. Waits for the device: called between samples only."""
        if not self.many:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def _reduce(self, values: Tensor, op: Any, group: Any) -> Tensor:
        result = values.clone()
        dist.all_reduce(result, op, group=group)
        return result

    def _where_sharded(self, local: Tensor, whole: Tensor) -> Tensor:
        if all(self.sharded):
            return whole
        return torch.where(torch.tensor(self.sharded, device=local.device), whole, local)


def _is_sharded(parameter: nn.Parameter) -> bool:
    return any(p.is_shard() for p in getattr(parameter, "placements", ()))
