"""A step's sums at its stations over all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gradscope.capture.distributed import Processes
from gradscope.capture.packing import wide
from gradscope.capture.sums import SUMS, Sums


def exchanged(
    processes: Processes,
    sums: Sums,
    vectors: Mapping[str, Tensor],
    passing: Sequence[tuple[list[int], Tensor]],
    device: torch.device,
) -> tuple[dict[str, Tensor], Sums]:
    """The sums of all processes, as one table. Rank 0 says which stations there are: what others saw beside is left out, and
    where one saw nothing of them it adds nothing, so that all exchange the same shapes.

    ``passing`` has slots and (slots, units): which units of each passed something on.
    """
    found = ((slot, row) for slots, rows in passing for slot, row in zip(slots, rows, strict=True))
    units = {sums.keys[slot]: row for slot, row in found if ("dead", slot) not in sums.lost}
    mine_kept = [sums.keys[i] for i in sums.kept]
    keys, widths = processes.share((mine_kept, [len(units.get(key, ())) for key in mine_kept]))
    place = {key: j for j, key in enumerate(keys)}
    to = [place.get(key, -1) for key in sums.keys]
    table = torch.zeros((len(SUMS), len(keys)), dtype=wide(device), device=device)
    for i, column in enumerate(SUMS):
        if column in vectors:
            mine = [j for j, slot in enumerate(sums.order[column]) if to[slot] >= 0]
            there = [to[slot] for slot in sums.order[column] if to[slot] >= 0]
            at = torch.tensor([mine, there], dtype=torch.long, device=device)
            table[i].index_add_(0, at[1], vectors[column][at[0]])
    host = np.zeros((len(SUMS) + 3, len(keys)))
    have = {column: set(sums.order.get(column, ())) for column in SUMS}
    for slot, j in enumerate(to):
        if j >= 0:
            host[: len(SUMS), j] = [-1e9 if (c, slot) in sums.lost else float(slot in have[c]) for c in SUMS]
    host[len(SUMS) :, [j for j in to if j >= 0]] = sums.counts[:, [slot for slot, j in enumerate(to) if j >= 0]]
    table = processes.add_up(torch.cat([table, torch.as_tensor(host, dtype=table.dtype).to(device)]))
    dead = torch.full((len(keys),), -1.0, dtype=table.dtype, device=device)
    for width in sorted(set(widths) - {0}):
        mine_at = [j for j, w in enumerate(widths) if w == width]
        rows = [units.get(keys[j]) for j in mine_at]
        none = torch.zeros(width, dtype=torch.bool, device=device)
        flags = torch.stack([r if r is not None and len(r) == width else none for r in rows])
        dead[torch.tensor(mine_at, device=device)] = 1.0 - processes.any(flags).to(table.dtype).mean(1)
    whole = replace(
        sums,
        keys=list(keys),
        kept=list(range(len(keys))),
        by_slope={to[slot] for slot in sums.by_slope if to[slot] >= 0},
        exchanged=True,
    )
    return {"table": torch.cat([table, dead[None]]).flatten()}, whole
