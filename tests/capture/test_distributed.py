"""Two processes record what one process records on the same global batch. Each start costs seconds: one start per wrapper."""

from __future__ import annotations

import os
import socket
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import gradscope
from gradscope.record.manifest import Status
from gradscope.record.run import Run

pytestmark = pytest.mark.distributed

STEPS, BATCH = 4, 16
IMPORTED = [__name__, "torch._dynamo", "torch.distributed.fsdp"]
"""Imported once for all processes, of which each would take seconds."""
RELATIVE = 1e-6
"""What float32 sums in another order may differ by; the statistics themselves are taken in float64."""


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(BATCH, 8, generator=generator), torch.randint(0, 4, (BATCH,), generator=generator)) for _ in range(STEPS)
    ]


def train(model: nn.Module, rows: slice, **options: Any) -> Run:
    """Plain SGD on these rows of each global batch, clipped at every other step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with gradscope.watch(model, optimizer, **{"every": 1, **options}) as scope:
        for step, (x, y) in enumerate(batches()):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            if step % 2:
                nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
            scope.step(loss)
    return scope.run


def accumulate_without_sync(model: Any, rows: list[slice], *, sync: Any) -> Run:
    """Two micro-batches a step; under DDP the first does not reduce."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        for x, y in batches():
            optimizer.zero_grad()
            total = torch.zeros(())
            for i, part in enumerate(rows):
                with sync(i):
                    loss = nn.functional.cross_entropy(model(x[part]), y[part]) / len(rows)
                    loss.backward()
                total = total + loss.detach()
            optimizer.step()
            scope.step(total)
    return scope.run


def columns_of(run: Run, table: str, columns: tuple[str, ...]) -> dict[str, Any]:
    return {f"{table}.{c}": run.grid(table, c) for c in columns}


PARAMETERS = ("grad_norm", "clipped_norm", "grad_max", "zero_count", "nonfinite_count", "weight_norm", "update_norm")
LAYERS = ("forward_norm", "forward_mean", "forward_std", "backward_norm", "dead_share", "saturated_share", "rows")
OF_STEP = ("total_norm", "clipped_norm", "clip_coefficient", "update_norm", "relative_update", "displacement")


def assert_same(many: Run, one: Run, layers: tuple[str, ...] = LAYERS, relative: float = RELATIVE) -> None:
    wanted = {"parameters": PARAMETERS, "steps": OF_STEP, "layers": layers}
    for table, columns in wanted.items():
        for name, grid in columns_of(one, table, columns).items():
            got = columns_of(many, table, columns)[name]
            assert got.entities == grid.entities, name
            np.testing.assert_array_equal(got.present, grid.present, err_msg=name)
            np.testing.assert_allclose(got.values, grid.values, rtol=relative, atol=1e-9, err_msg=name)


def stopped_together(rank: int) -> None:
    """Rank 1 alone sees NaN; rank 0 judges, and both leave the loop after the same step."""
    model = nn.parallel.DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator, taken = torch.Generator().manual_seed(rank), 0
    with gradscope.watch(model, optimizer, stop_on="non-finite") as scope:
        for step in range(40):
            x = torch.randn(BATCH, 8, generator=generator)
            if rank and step == 5:
                x[0, 0] = float("nan")
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            taken += 1
            scope.step(loss)
    told: list[Any] = [None, None]
    dist.all_gather_object(told, (taken, scope.run.status if not rank else None))
    assert told[0][0] == told[1][0] < 10
    assert told[0][1] is Status.STOPPED


def wrapped_in_ddp(rank: int) -> None:
    half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    many = train(nn.parallel.DistributedDataParallel(net()), half)
    quarters = [slice(half.start, half.start + BATCH // 4), slice(half.start + BATCH // 4, half.stop)]
    model = nn.parallel.DistributedDataParallel(net())

    def sync(i: int) -> Any:
        return model.no_sync() if i == 0 else torch.enable_grad()

    several = accumulate_without_sync(model, quarters, sync=sync)
    adaptive = train(nn.parallel.DistributedDataParallel(net()), half, every=None)
    stopped_together(rank)
    if rank:
        return
    assert_same(many, train(net(), slice(None)))
    one = accumulate_without_sync(net(), [slice(None)], sync=lambda _: torch.enable_grad())
    assert_same(several, one)
    assert adaptive.step_count == STEPS
    assert not adaptive.grid("layers", "backward_norm").empty
    assert [i.name for i in many.catalogue.layers] == ["0", "1", "2", "3", "4"]


def sharded_by_fsdp(rank: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh("cpu", (2,))
    half = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)

    def sharded(**options: Any) -> nn.Module:
        model = net()
        for layer in (model[0], model[2], model[4]):
            fully_shard(layer, mesh=mesh, **options)
        fully_shard(model, mesh=mesh, **options)
        return model

    many = train(sharded(), half)
    mixed = train(sharded(mp_policy=MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)), half)
    if rank:
        return
    one = train(net(), slice(None))
    assert_same(many, one)
    # bfloat16 keeps 8 bits: the norms agree to what is left of them, and nothing is a shard's
    grads, reference = mixed.grid("parameters", "grad_norm"), one.grid("parameters", "grad_norm")
    np.testing.assert_allclose(grads.values[0], reference.values[0], rtol=0.05)


def start(rank: int, body: str, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        globals()[body](rank)
        dist.barrier()
    except BaseException:
        Path(folder, f"rank-{rank}").write_text(traceback.format_exc())
        raise
    finally:
        dist.destroy_process_group()


def on_two_processes(body: str, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.get_context("forkserver").set_forkserver_preload(IMPORTED)
    try:
        mp.start_processes(start, args=(body, port, str(folder)), nprocs=2, start_method="forkserver")
    except mp.ProcessRaisedException as error:
        told = "\n".join(f.read_text() for f in sorted(folder.glob("rank-*")))
        raise AssertionError(told or str(error)) from None


def test_ddp_records_the_global_batch_with_and_without_no_sync_and_stops_together(tmp_path: Path) -> None:
    on_two_processes("wrapped_in_ddp", tmp_path)


def test_fsdp2_records_the_whole_gradient_not_a_shard(tmp_path: Path) -> None:
    on_two_processes("sharded_by_fsdp", tmp_path)
