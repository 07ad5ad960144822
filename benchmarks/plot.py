"""How long `gradscope plot` and `gradscope report` take over a run of 50 layers and 1,000 steps: ``python benchmarks/plot.py``.

From the shell the whole command counts, in seconds and in seconds of CPU. Then one process that has imported everything
makes the overview alone, stage by stage: its own part. Both are the best and the median of several, since whatever else
the machine does is in them. ``--run`` takes a recorded run instead of training one. The last line is the same as JSON.
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
from itertools import pairwise
from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "plain-sigmoid-20.yaml"
BUDGET = {"plot": 2.0, "report": 3.0, "own": 0.7}
"""Seconds on an idle machine of two cores: the two commands from the shell, and the overview after imports."""


def recorded(folder: Path) -> Path:
    """A run of a network of 50 layers, every step of 1,000 recorded."""
    from gradscope.training.config import load_config
    from gradscope.training.loop import train

    changes = ["model.depth=50", "training.steps=1000"]
    train(load_config(CONFIG, changes), folder)
    return folder


def command(words: list[str]) -> tuple[float, float]:
    """Seconds and CPU seconds of a command, from the shell."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "gradscope", *words], check=True, capture_output=True)
    taken, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stages(run: Path, target: Path) -> dict[str, float]:
    """CPU seconds of each stage of the overview in this process, which draws for the first time, after its imports."""
    import pyarrow.parquet  # noqa: F401

    from gradscope.cli.gate import judged
    from gradscope.detect.engine import ordered
    from gradscope.record.reader import load_run
    from gradscope.render import FIGURES, plot, save

    ordered()
    for name in ("overview", "profile", "heatmap", "loss"):
        FIGURES.load(name)
    clock = [time.process_time()]
    loaded = load_run(run)
    for table, column in (("layers", "backward_norm"), ("steps", "loss")):
        loaded.grid(table, column)
    clock.append(time.process_time())
    report = judged(loaded, remedies=False)
    clock.append(time.process_time())
    page = plot(loaded, reports=[report])
    clock.append(time.process_time())
    save(page, target)
    clock.append(time.process_time())
    assert "torch" not in sys.modules
    taken = [after - before for before, after in pairwise(clock)]
    return dict(zip(("load", "judge", "draw", "save"), taken, strict=True)) | {"own": sum(taken)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run folder, in the place of one that is trained for this")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--stages", action="store_true", help="the overview alone, once, in this process")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = options.run or recorded(folder / "run")
        if options.stages:
            print(json.dumps(stages(run, folder / "overview.png")))
            return 0
        for words in (
            ["plot", str(run), "-o", str(folder / "overview.png")],
            ["report", str(run), "-o", str(folder / "r.html")],
        ):
            command(words)  # the first start compiles and fills the disk cache
            taken = [command(words) for _ in range(options.repeat)]
            wall, cpu = [t for t, _ in taken], [c for _, c in taken]
            result[words[0]] = round(min(wall), 3)
            print(
                f"gradscope {words[0]:<6}  best {min(wall):.2f} s, median {statistics.median(wall):.2f} s; CPU {min(cpu):.2f} s"
            )
        ask = [sys.executable, __file__, "--stages", "--run", str(run)]
        told = [
            json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout) for _ in range(options.repeat)
        ]
        best = min(told, key=lambda t: t["own"])
        print("overview after imports: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in best.items()))
        result |= {stage: round(seconds, 3) for stage, seconds in best.items()}
    print(json.dumps(result))
    return int(any(result[what] > limit for what, limit in BUDGET.items()))


if __name__ == "__main__":
    raise SystemExit(main())
