"""A report of 1,000 layers x 100,000 recorded steps: how large, how soon made and drawn: ``python -m benchmarks.report``.

The run is made of arithmetic, since none that long can be trained for this, with one spike of one step; it needs 10 GB for
a while. Chromium opens the page headless and says by its own clock when it had drawn it.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gradscope.detect.comparison import compare
from gradscope.record.finding import Report
from gradscope.record.grid import NO_ENTITY, Block
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, Status
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink
from gradscope.render.report.page import page
from gradscope.render.report.payload import payload
from tests.render.report.browser import PROGRAM, Browser

BUDGET = 2.0
"""Seconds in which a browser has drawn the page, on an idle machine of two cores."""


def made(layers: int, steps: int) -> Run:
    """A gradient that falls towards the input and over the steps, with a spike of one step in one layer."""
    names = tuple(f"blocks.{i}.linear" for i in range(layers))
    catalogue = Catalogue(tuple(LayerInfo(name, "Linear", i, trunk=True, width=64) for i, name in enumerate(names)))
    draw, at = np.random.default_rng(0), np.arange(steps)
    back = np.exp(0.1 * draw.standard_normal((steps, layers))) * np.exp(-0.02 * np.arange(layers)[::-1] - at[:, None] / steps)
    back[steps * 2 // 3, layers // 3] *= 1e6
    sink = MemorySink(Manifest("long", status=Status.FINISHED, catalogue=catalogue, created="2026-01-01T00:00:00+00:00"))
    sink.append(Block("layers", at, tuple((name, 0) for name in names), {"backward_norm": back}))
    sink.append(Block("steps", at, NO_ENTITY, {"loss": np.exp(-at / steps)[:, None]}))
    return sink.run()


def opened(file: Path) -> dict[str, float]:
    """Milliseconds from the navigation on: the first paint, when all charts stood, and CPU of the page's thread till then."""
    if PROGRAM is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(PROGRAM, Path(folder))
        try:
            with browser.page(1280, 900) as shown:
                shown.call("Performance.enable", timeDomain="threadTicks")
                shown.open(file.as_uri())
                spent = {m["name"]: m["value"] for m in shown.call("Performance.getMetrics")["metrics"]}["TaskDuration"]
                assert shown.complaints == []
                drawn = shown.run("performance.getEntriesByType('navigation')[0].loadEventEnd")
                painted = shown.run("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
                before = shown.run("performance.now()")
                shown.choose("#step", 10)
                stepped = shown.run("performance.now()") - before
        finally:
            browser.close()
    return {"first paint": painted, "all drawn": drawn, "CPU till then": 1000 * spent, "a step of the slider": stepped}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    run = made(options.layers, options.steps)
    report = Report(run.name, options.steps)
    began, worked = time.perf_counter(), time.process_time()
    html = page(payload([run], [report], compare([run], [report], [run.name]))).encode()
    result = {
        "made in s": round(time.perf_counter() - began, 2),
        "made in s of CPU": round(time.process_time() - worked, 2),
        "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1),
        "MB": round(len(html) / 1e6, 2),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_bytes(html)
        tries = [opened(file) for _ in range(options.repeat)]
    for what in tries[0]:
        result[f"{what} ms"] = round(min(t[what] for t in tries))
    print("\n".join(f"{what}: {value:,}" for what, value in result.items()))
    print(json.dumps(result))
    return int(result.get("all drawn ms", 0) > 1000 * BUDGET)


if __name__ == "__main__":
    raise SystemExit(main())
