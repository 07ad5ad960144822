"""Several processes: which values are shards of one, which rows are part of one batch, and how they become the whole.

Under DDP every process holds the same averaged gradient, so nothing is exchanged for parameters; layer statistics are sums
over the local rows and are added up. Under FSDP2 a gradient is a shard: squares and counts are summed over the shards' group,
maxima compared. Every process makes the same calls at the same steps; rank 0 alone records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gradscope.errors import UnsupportedError

Value = TypeVar("Value")
UNSUPPORTED = {
    "FullyShardedDataParallel": "FSDP1 flattens its parameters: their gradients cannot be told apart; fully_shard (FSDP2) can",
    "DeepSpeedEngine": "DeepSpeed keeps gradients where nobody sees them",
}


class Processes:
    """The processes that train one model together; ``world`` is over how many the rows of a batch are divided."""

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
        self.world, self.rank = 1, 0
        self.sharded: list[bool] = [bool(_shard_dims(p)) for p in parameters]
        self.layers_unseen: str | None = None
        """Why the signals at the layers cannot be added up over the processes."""
        self.alone_of_many = False
        """Whether other processes run beside this one and the model does not show that they train it too."""
        self._rows: list[Any] = []
        self._shards: list[tuple[list[bool], list[Any]]] = []
        for module in model.modules():
            for kind in type(module).__mro__:
                if kind.__name__ in UNSUPPORTED:
                    raise UnsupportedError(f"watch: {UNSUPPORTED[kind.__name__]}")
        if not (dist.is_available() and dist.is_initialized()):
            return
        meshes: dict[tuple[int, tuple[int, ...]], tuple[Any, list[bool]]] = {}
        for i, p in enumerate(parameters):
            if dims := _shard_dims(p):
                mesh: Any = getattr(p, "device_mesh", None)
                meshes.setdefault((id(mesh), dims), (mesh, [False] * len(parameters)))[1][i] = True
        for (_, dims), (mesh, mine) in meshes.items():  # replicas of a shard (HSDP) must not be counted twice
            self._shards.append((mine, [mesh.get_group(dim) for dim in dims]))
        replicated = next((m for m in model.modules() if isinstance(m, nn.parallel.DistributedDataParallel)), None)
        if replicated is not None:
            self._divide([replicated.process_group])
        elif any(_is_fsdp(m) for m in model.modules()) and len(meshes) == 1:
            (_, dims), (mesh, _) = next(iter(meshes.items()))
            if len(dims) > 1:
                self.layers_unseen = "the model is sharded over more than one dimension of its mesh"
            self._divide([mesh.get_group(dim) for dim in range(mesh.ndim)])
        elif meshes:
            mesh = next(iter(meshes.values()))[0]
            self.layers_unseen = "the parameters are sharded, but not by FSDP2"
            self._divide([mesh.get_group(dim) for dim in range(mesh.ndim)])
        else:
            self.alone_of_many = dist.get_world_size() > 1

    def _divide(self, groups: list[Any]) -> None:
        self._rows = groups
        for group in groups:
            self.world *= dist.get_world_size(group)
            self.rank += dist.get_rank(group)  # 0 for the first of all alone
        if self.world == 1:
            self._rows = []

    @property
    def many(self) -> bool:
        return self.world > 1

    # ---- parameters: (n,) in list order

    def norms(self, local: Tensor) -> Tensor:
        """Norms (n,) of this process's shards -> norms of the whole tensors."""
        return self.sums(local.square()).sqrt() if self._shards else local

    def sums(self, local: Tensor) -> Tensor:
        """Counts or inner products (n,) of shards -> of the whole."""
        return self._over_shards(local, dist.ReduceOp.SUM) if self._shards else local

    def maxima(self, local: Tensor) -> Tensor:
        return self._over_shards(local, dist.ReduceOp.MAX) if self._shards else local

    def _over_shards(self, local: Tensor, op: Any) -> Tensor:
        result = local
        for mine, groups in self._shards:
            whole = local
            for group in groups:
                whole = _reduced(whole, op, group)
            result = whole if all(mine) else torch.where(torch.tensor(mine, device=local.device), whole, result)
        return result

    # ---- rows of the batch

    def add_up(self, values: Tensor) -> Tensor:
        """Sums over all processes: statistics of the rows of the batch."""
        for group in self._rows:
            values = _reduced(values, dist.ReduceOp.SUM, group)
        return values

    def any(self, flags: Tensor) -> Tensor:
        if not self.many:
            return flags
        values = flags.to(torch.uint8)
        for group in self._rows:
            values = _reduced(values, dist.ReduceOp.MAX, group)
        return values > 0

    def share(self, value: Value) -> Value:
        """Rank 0's value on every process. Waits for it: called at samples only."""
        for group in self._rows:
            box = [value]
            dist.broadcast_object_list(box, src=dist.get_global_rank(group, 0), group=group)
            value = box[0]
        return value

    def agree(self, value: int) -> int:
        return self.share(value)


def _reduced(values: Tensor, op: Any, group: Any) -> Tensor:
    result = values.clone()
    dist.all_reduce(result, op, group=group)
    return result


def _shard_dims(parameter: nn.Parameter) -> tuple[int, ...]:
    """The dimensions of the mesh over which a ``DTensor`` is divided."""
    return tuple(i for i, place in enumerate(getattr(parameter, "placements", ())) if place.is_shard())


def _is_fsdp(module: nn.Module) -> bool:
    return any(kind.__name__ == "FSDPModule" for kind in type(module).__mro__)
