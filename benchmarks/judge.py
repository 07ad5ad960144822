"""How long judging a long run of a deep network takes: ``python benchmarks/judge.py``.

1,000 layers x 10,000 recorded steps, each layer with its activation, made of numbers: healthy, and with vanishing gradients.
Judged from memory, and with ``--folder`` from a run folder too; at first, reading what it needs, and again with that at hand.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gradscope.detect.engine import check
from gradscope.record.finding import Report
from gradscope.record.grid import NO_ENTITY, Block
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo
from gradscope.record.reader import load_run
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink, Sink
from gradscope.record.store import RunFolder


def manifest(layers: int) -> Manifest:
    """A plain ReLU net of so many linear layers."""
    infos, parameters = [], []
    for i in range(layers):
        name = f"layers.{i}"
        infos.append(LayerInfo(f"{name}.fc", "Linear", 2 * i, (f"{name}.fc.weight",), trunk=True, width=64))
        infos.append(LayerInfo(f"{name}.act", "ReLU", 2 * i + 1, width=64, activation="one-sided"))
        parameters.append(ParameterInfo(f"{name}.fc.weight", f"{name}.fc", (64, 64)))
    return Manifest("judge", catalogue=Catalogue(tuple(infos), tuple(parameters)))


def fill(sink: Sink, layers: int, steps: int, *, gain: float = 1.0, chunk: int = 1000) -> None:
    """A training with noise, block by block, as a recorder hands it over: it learns, or is stuck where ``gain`` is not 1."""
    draw = np.random.default_rng(0)
    for start in range(0, steps, chunk):
        at = np.arange(start, min(start + chunk, steps), dtype=np.int64)
        shape = (len(at), layers)
        stations = tuple((f"layers.{i}.{part}", 0) for i in range(layers) for part in ("fc", "act"))
        level = np.exp(-3.0 * (gain == 1.0) * at / steps)[:, None]
        noise = np.exp(0.2 * draw.standard_normal(shape))
        back = np.repeat(level * noise * gain ** np.arange(layers)[::-1], 2, axis=1)
        columns = {"backward_norm": back, "forward_norm": 8.0 * np.repeat(noise, 2, axis=1), "rows": np.full_like(back, 64.0)}
        columns |= {"forward_mean": 0.01 * columns["forward_norm"], "forward_std": columns["forward_norm"] / 8.0}
        columns |= {"dead_share": np.full_like(back, 0.1)}
        valid = {"dead_share": np.broadcast_to(np.arange(2 * layers) % 2 == 1, back.shape).copy()}
        sink.append(Block("layers", at, stations, columns, valid))
        weights = tuple((f"layers.{i}.fc.weight", 0) for i in range(layers))
        columns = {"grad_norm": level * noise, "weight_norm": np.full(shape, 8.0), "update_norm": 0.008 * noise}
        sink.append(Block("parameters", at, weights, columns | {"frozen": np.zeros(shape)}))
        one = np.exp(0.1 * draw.standard_normal((len(at), 1)))
        totals = {"loss": 2.3 * level**2 * one, "total_norm": level * one, "update_norm": 0.25 * one}
        totals |= {"relative_update": 1e-3 * one, "displacement_norm": (at[:, None] + 1) * 1e-2, "lr": np.full_like(one, 0.01)}
        totals |= {"output_backward_norm": level * one, "output_correlation": 0.01 * one, "output_offset": 0.125 * one}
        sink.append(Block("steps", at, NO_ENTITY, totals | {"grad_cosine": 0.3 * one}))


def judged(run: Run) -> dict[str, float | str]:
    """Judged twice: with everything to be read, and once that is done."""
    first = timed(lambda: check(run))
    again = timed(lambda: check(run))
    verdict = ", ".join(f.code for f in first[2].findings) or str(first[2].verdict)
    return {"first_s": first[0], "first_cpu_s": first[1], "again_s": again[0], "again_cpu_s": again[1], "verdict": verdict}


def timed(work: Callable[[], Report]) -> tuple[float, float, Report]:
    """Wall and CPU seconds, and what came out."""
    wall, cpu = time.perf_counter(), time.process_time()
    report = work()
    return time.perf_counter() - wall, time.process_time() - cpu, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--folder", action="store_true", help="also written, loaded and judged from a folder: some minutes")
    options = parser.parse_args()
    described = manifest(options.layers)
    figures: dict[str, dict[str, float | str]] = {}
    for name, gain in (("healthy", 1.0), ("vanishing", 0.95)):
        memory = MemorySink(described)
        fill(memory, options.layers, options.steps, gain=gain)
        figures[f"{name}, in memory"] = judged(memory.run())
        del memory
        if options.folder:
            with tempfile.TemporaryDirectory() as folder:
                store = RunFolder.create(Path(folder) / "run", described)
                fill(store, options.layers, options.steps, gain=gain)
                store.close()
                figures[f"{name}, from its folder"] = judged(load_run(Path(folder) / "run"))
    for title, measured in figures.items():
        print(f"{title}: {measured['first_s']:.2f} s at first, then {measured['again_s']:.2f} s; {measured['verdict']}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
