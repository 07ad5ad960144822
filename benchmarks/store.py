"""What the store costs: bytes a value, time a step, time and memory to read a series and a grid; a table and one JSON line.

python benchmarks/store.py [--steps 1000000] [--folder FOLDER]; 1,000,000 steps take some minutes and 1 GB of disk. Each figure
is taken in a process of its own. Times are wall clock and CPU: on a shared machine the CPU time is the one to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.record.grid import NO_ENTITY, Block
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, Status
from gradscope.record.reader import load_run
from gradscope.record.sink import Sink
from gradscope.record.spill import SpillingSink
from gradscope.record.store import RunFolder

COLUMNS = ("forward_norm", "forward_mean", "forward_std", "backward_norm")
FLUSH = 100
"""Steps between two flushes: one second of a training with steps of 10 ms."""


def blocks(steps: int, layers: int, flush: int = FLUSH) -> Iterator[Block]:
    """Norms of a noisy training, measured in float32."""
    draw = np.random.default_rng(0)
    entities = tuple((f"layers.{i}", 0) for i in range(layers))
    level = draw.lognormal(size=(len(COLUMNS), 1, layers))
    noise = draw.lognormal(sigma=0.3, size=(len(COLUMNS), 8 * flush, layers))
    for start in range(0, steps, flush):
        at = np.arange(start, min(start + flush, steps))
        shift = int(draw.integers(7 * flush))
        values = (level * noise[:, shift : shift + len(at)] * (1 + start / steps)).astype(np.float32).astype(np.float64)
        yield Block("layers", at, entities, dict(zip(COLUMNS, values, strict=True)))


def manifest(layers: int) -> Manifest:
    return Manifest("store", catalogue=Catalogue(tuple(LayerInfo(f"layers.{i}", "Linear", i) for i in range(layers))))


def memory_mb() -> float:
    """Resident memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds, and what came out."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def write(folder: Path, steps: int, layers: int) -> dict[str, float]:
    """Store a run as a recorder does; append and close are timed, the making of the values is not."""
    sink, wall, cpu, longest, before = RunFolder.create(folder, manifest(layers)), 0.0, 0.0, 0.0, memory_mb()
    for block in blocks(steps, layers):
        took, burnt, _ = timed(lambda block=block: sink.append(block))  # type: ignore[misc]
        wall, cpu, longest = wall + took, cpu + burnt, max(longest, took)
    recording = peak_mb() - before
    read = timed(lambda: sink.run().series("layers", "backward_norm", "layers.1"))
    sink.describe(replace(manifest(layers), status=Status.FINISHED))
    close = timed(sink.close)
    size = sum(path.stat().st_size for path in (folder / "layers").iterdir())
    return {
        "bytes_per_value": size / (steps * layers * len(COLUMNS)),
        "append_us_per_step": wall / steps * 1e6,
        "append_cpu_us_per_step": cpu / steps * 1e6,
        "append_longest_ms": longest * 1e3,
        "append_memory_mb": recording,
        "close_s": close[0],
        "close_cpu_s": close[1],
        "close_cpu_us_per_step": close[1] / steps * 1e6,
        "close_memory_mb": peak_mb() - before,
        "unclosed_series_s": read[0],
        "unclosed_series_cpu_s": read[1],
    }


def series(folder: Path) -> dict[str, float]:
    """One layer of a run, the first thing read in a process that has imported pyarrow."""
    before = memory_mb()
    wall, cpu, grid = timed(lambda: load_run(folder).series("layers", "backward_norm", "layers.1"))
    assert grid.present.all()
    return {"series_s": wall, "series_cpu_s": cpu, "series_memory_mb": peak_mb() - before}


def grid(folder: Path) -> dict[str, float]:
    """Each column of a run as a dense array: the middle one of the times, and the worst."""
    before, run = memory_mb(), load_run(folder)
    taken = [timed(lambda column=column: run.grid("layers", column))[:2] for column in COLUMNS]  # type: ignore[misc]
    megabytes = run.grid("layers", COLUMNS[0]).values.nbytes / 2**20
    return {
        "grid_s": statistics.median(wall for wall, _ in taken),
        "grid_cpu_s": statistics.median(cpu for _, cpu in taken),
        "grid_worst_s": max(wall for wall, _ in taken),
        "grid_memory_over_values": (peak_mb() - before) / (megabytes * len(COLUMNS)),
    }


def flat(folder: Path, steps: int, spills: bool) -> dict[str, float]:
    """Resident memory while a small net is recorded, every step, flushed every 1,000: it must not grow with the steps."""
    sink: Sink = SpillingSink(manifest(8)) if spills else RunFolder.create(folder, manifest(8))
    seen = {}
    for i, block in enumerate(blocks(steps, 8, 1000), 1):
        sink.append(block)
        sink.append(Block("steps", block.steps, NO_ENTITY, {"loss": np.ones((len(block.steps), 1))}))
        if i * 1000 in (steps // 4, steps // 2, steps):
            seen[f"memory_mb_at_{i * 1000}"] = memory_mb()
    sink.close()
    return seen


def alone(name: str, *arguments: object) -> dict[str, float]:
    """Take a figure in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--only", name, *map(str, arguments)], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def everything(folder: Path, steps: int) -> dict[str, dict[str, float]]:
    return {
        f"write {steps:,} steps x 64 layers x 4 values": alone("write", folder / "long", steps, 64),
        f"one series of {steps:,} steps x 64 layers": alone("series", folder / "long"),
        "write 10,000 steps x 1,000 layers x 4 values": alone("write", folder / "wide", 10_000, 1000),
        "one column of 10,000 steps x 1,000 layers": alone("grid", folder / "wide"),
        "small net, 200,000 steps, run folder": alone("flat", folder / "flat", 200_000, 0),
        "small net, 200,000 steps, out=None": alone("flat", folder / "flat", 200_000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder otherwise")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        name, folder, *numbers = options.only
        print(
            json.dumps({"write": write, "series": series, "grid": grid, "flat": flat}[name](Path(folder), *map(int, numbers)))
        )
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = everything(Path(folder), options.steps)
    for title, measured in figures.items():
        print(title)
        for name, value in measured.items():
            print(f"  {name:<28} {value:10.3f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
