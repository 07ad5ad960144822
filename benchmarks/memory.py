"""Whether watching for a long time keeps the memory flat: resident memory along many watched steps of a small net.

    python benchmarks/memory.py [--steps 200000]

Once with a run folder and once without (``out=None``); prints the resident memory at ten points, the growth from the second
to the last, and one JSON line. The first point is left out: it holds what torch and the allocator set up once. With glibc the
heap in use stands beside it: what is resident without being in use are the gaps that the allocator keeps.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import gradscope


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Heap(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def heap_mib() -> float | None:
    """What is allocated and not freed; None where the C library does not tell."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return None
    mallinfo2.restype = Heap
    heap = mallinfo2()
    return float(heap.uordblks + heap.hblkhd) / 2**20


def train(steps: int, out: Path | None) -> dict[str, object]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, y = torch.randn(32, 16), torch.randint(0, 4, (32,))
    points, heaps = [], []
    began = time.perf_counter()
    with gradscope.watch(model, optimizer, out=out) as scope:
        for step in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
            if (step + 1) % (steps // 10) == 0:
                points.append(round(resident_mib(), 1))
                heaps.append(None if (heap := heap_mib()) is None else round(heap, 1))
    return {
        "steps": steps,
        "resident_mib": points,
        "growth_mib": round(points[-1] - points[1], 1),
        "heap_mib": heaps,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, out in (("folder", Path(folder) / "run"), ("memory", None)):
            results[name] = train(options.steps, out)
            print(f"{name}: {results[name]}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
