"""The tallies of one step as columns of the table ``layers``: micro-batches and processes combined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradscope.capture.distributed import Processes
from gradscope.capture.packing import wide
from gradscope.capture.tally import Tally
from gradscope.record.grid import Bools, Floats


def columns(
    tallies: Sequence[Tally], processes: Processes, inverse_scale: Tensor | None
) -> tuple[dict[str, Tensor], dict[str, Floats], dict[str, Bools]]:
    """Device columns (E,), host columns (E,) and which entries have a value, one entry a tally.

    Squares and sums over the micro-batches add up to the big batch's, since each micro-batch's loss was divided by their
    number; over the processes too, after dividing the gradient's by their number, as DDP does.
    """
    device = next((v.device for t in tallies for v in (*t.forward, *t.backward, *t.saturated)), torch.device("cpu"))
    names = ("forward", "sums", "squares", "backward", "backward_in", "saturated")
    lists = {name: [getattr(t, name) for t in tallies] for name in names}
    have = {name: np.array([bool(values) for values in lists[name]], bool) for name in names}
    counts = torch.tensor([float(sum(t.counts)) for t in tallies], dtype=wide(device), device=device)
    parts = torch.tensor([float(max(1, len(t.saturated))) for t in tallies], dtype=wide(device), device=device)
    additive = torch.stack(
        [
            _total(lists["forward"], device, square=True),
            _total(lists["sums"], device),
            _total(lists["squares"], device, square=True),
            counts,
            _total(lists["backward"], device, square=True) / processes.world**2,
            _total(lists["backward_in"], device, square=True) / processes.world**2,
            _total(lists["saturated"], device) / parts / processes.world,
        ]
    )
    forward, sums, squares, counts, backward, backward_in, saturated = processes.add_up(additive)
    mean = sums / counts
    scale = 1.0 if inverse_scale is None else inverse_scale.to(backward)
    dead, have_dead = _dead(tallies, processes, device)
    found = {
        "forward_norm": forward.sqrt(),
        "forward_mean": mean,
        "forward_std": (squares / counts - mean.square()).clamp_min(0).sqrt(),
        "backward_norm": backward.sqrt() * scale,
        "input_backward_norm": backward_in.sqrt() * scale,
        "saturated_share": saturated,
        "dead_share": dead,
    }
    valid = {
        "forward_norm": have["forward"],
        "forward_mean": have["sums"],
        "forward_std": have["sums"],
        "backward_norm": have["backward"],
        "input_backward_norm": have["backward_in"],
        "saturated_share": have["saturated"],
        "dead_share": have_dead,
    }
    rows = np.array([float(t.rows * processes.world) for t in tallies])
    return found, {"rows": rows}, {name: ok for name, ok in valid.items() if not ok.all()}


def _total(lists: Sequence[list[Tensor]], device: torch.device, *, square: bool = False) -> Tensor:
    """(E,): the sum (of squares) of each list; 0 for an empty one."""
    zero = torch.zeros((), dtype=wide(device), device=device)
    longest = max((len(values) for values in lists), default=0)
    flat = [v for values in lists for v in (*values, *([zero] * (longest - len(values))))]
    if not flat:
        return torch.zeros(len(lists), dtype=wide(device), device=device)
    values = torch.stack([v if v.dtype is zero.dtype and v.device == device else v.to(zero) for v in flat])
    values = values.view(len(lists), longest)
    return (values.square() if square else values).sum(1)


def _dead(tallies: Sequence[Tally], processes: Processes, device: torch.device) -> tuple[Tensor, Bools]:
    """(E,) share of the units that passed nothing in any micro-batch of any process; units of one number go together."""
    share = torch.zeros(len(tallies), dtype=wide(device), device=device)
    have = np.array([t.alive is not None for t in tallies], bool)
    by_width: dict[int, list[int]] = {}
    for i, tally in enumerate(tallies):
        if tally.alive is not None:
            by_width.setdefault(len(tally.alive), []).append(i)
    for at in by_width.values():
        alive = torch.stack([a.to(device) for i in at if (a := tallies[i].alive) is not None])
        dead = 1.0 - processes.any(alive).to(wide(device)).mean(1)
        share[torch.tensor(at, device=device)] = dead
    return share, have
