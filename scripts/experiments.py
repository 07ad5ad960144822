"""Runs the experiments of ``configs/experiments``: ``python -m scripts.experiments [NAME ...] [--short] [--write]``.

An experiment is a folder with the configs that it trains and ``experiment.py``, which has ``TITLE`` and ``run(short)``: it
measures, and gives each number beside what theory or the source says of it, and a figure. ``short`` is the same with fewer or
smaller trainings, for the tests: its numbers have to hold as well. ``--write`` puts figure and numbers into the experiment's
page under ``docs/experiments``.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from gradscope.detect.engine import check
from gradscope.numbers import number
from gradscope.probe import LayerProbe, Probe, probe
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.render.drawing import save
from gradscope.render.scales import log_ticks
from gradscope.sweep.axes import Cell
from gradscope.sweep.plan import load_sweep
from gradscope.training.build import build
from gradscope.training.config import load_config
from gradscope.training.loop import train
from scripts.refresh import shrink

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "configs" / "experiments"
PAGES = ROOT / "docs" / "experiments"
_NUMBERS = re.compile(r"(?<=<!-- numbers -->\n).*?(?=<!-- end of numbers -->)", re.DOTALL)


@dataclass(frozen=True)
class Number:
    """Something measured, the interval in which it is to lie, ends included, and who says so: a formula or a paper."""

    what: str
    measured: float
    low: float
    high: float
    source: str

    @classmethod
    def near(cls, what: str, measured: float, expected: float, source: str, *, within: float) -> Number:
        """Expected up to a share of itself."""
        room = abs(expected) * within
        return cls(what, measured, expected - room, expected + room, source)

    @classmethod
    def open(cls, what: str, measured: float, source: str) -> Number:
        """Whatever comes out, as where sources disagree."""
        return cls(what, measured, -math.inf, math.inf, source)

    @property
    def holds(self) -> bool:
        return self.low <= self.measured <= self.high

    @property
    def expected(self) -> str:
        if self.low == self.high:
            return f"{number(self.low)} exactly"
        if number(self.low) == number(self.high):
            return f"{number(self.low)} to {number((self.high - self.low) / (self.high + self.low), 1)} of it"
        if math.isinf(self.high) and math.isinf(self.low):
            return "whatever comes out"
        if math.isinf(self.high):
            return f"at least {number(self.low)}"
        if math.isinf(self.low):
            return f"at most {number(self.high)}"
        return f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True, eq=False)
class Result:
    """What an experiment gives."""

    numbers: tuple[Number, ...]
    figure: Figure


def names() -> list[str]:
    """The experiments, in their order."""
    return sorted(path.parent.name for path in FOLDER.glob("*/experiment.py"))


def experiment(name: str) -> ModuleType:
    """The module of an experiment, which is no package's: its folder is named for people."""
    return beside(FOLDER / name / "experiment.py", "experiment")


def beside(file: Path | str, name: str) -> ModuleType:
    """The module ``name`` in the folder of a file of an experiment."""
    path = Path(file).with_name(f"{name}.py")
    spec = spec_from_file_location(f"{path.parent.name}_{name}".replace("-", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def trained(config: Path, *overrides: str) -> Run:
    """A config trained, on the CPU so that everybody gets the same number, with its record in memory."""
    return train(load_config(config, ["device=cpu", *overrides]))


def probed(config: Path, *overrides: str) -> Probe:
    """A config's network before it is trained, on the CPU."""
    setup = build(load_config(config, ["device=cpu", *overrides]))
    return probe(setup.model, setup.first_batch(), setup.loss)


def typical_gains(layers: Sequence[LayerProbe]) -> tuple[float, float]:
    """The gradient's typical gain through these layers, measured and predicted, where both are known."""
    known = [(layer.gain, layer.predicted.gain) for layer in layers if layer.gain and layer.predicted and layer.predicted.gain]
    measured, predicted = np.exp(np.log(np.array(known, float)).mean(axis=0))
    return float(measured), float(predicted)


def codes(run: Run) -> set[str]:
    """The codes of the rules that speak of a run."""
    return {finding.code for finding in check(run).findings}


def swept(sweep: Path, share: float = 1.0, **only: Collection[Cell]) -> Iterator[tuple[Mapping[str, Cell], Run]]:
    """The points of a sweep, where each lies and its record in memory; ``only`` leaves out other values of an axis.

    An axis is named by the last part of its key. ``share`` is that of the config's steps that are taken.
    """
    for point in load_sweep(sweep).points:
        at = {key.rpartition(".")[2]: cell for key, cell in point.at.items()}
        if point.config is None or any(at[axis] not in values for axis, values in only.items()):
            continue
        training = point.config.training
        fewer = training.model_copy(update={"steps": max(round(training.steps * share), 1)})
        yield at, train(point.config.model_copy(update={"training": fewer}))


def drawn(title: str, reading: str, panels: int, draw: Callable[[Sequence[Axes]], object]) -> Figure:
    """A page in the project's style with so many panels side by side; ``draw`` fills them."""
    with theme.style():
        page = Figure(figsize=(9.0, 4.4))
        top = theme.head(page, title, reading) + 0.3
        width, height = page.get_size_inches()
        wide = (width - 0.25) / panels
        axes = [
            page.add_axes(
                (
                    (i * wide + theme.LEFT) / width,
                    theme.BOTTOM / height,
                    (wide - theme.LEFT - 0.2) / width,
                    (height - top - theme.BOTTOM) / height,
                )
            )
            for i in range(panels)
        ]
        draw(axes)
    return page


def titled(panel: Axes, title: str, x: str, y: str, **more: Any) -> None:
    """A panel's name and those of its axes, and what else ``Axes.set`` takes, such as ``ylim``."""
    panel.set(xlabel=x, ylabel=y, **more)
    panel.set_title(title, loc="left", size=9)


def logarithmic(axes: Axes, axis: Literal["x", "y"], low: float, high: float, most: int = 6) -> None:
    """Make an axis logarithmic from ``low`` to ``high``, its ticks in words that need no mathematical typesetting."""
    along = axes.xaxis if axis == "x" else axes.yaxis
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    (axes.set_xlim if axis == "x" else axes.set_ylim)(low, high)
    ticks = log_ticks(math.log10(low), math.log10(high), most)
    along.set_major_locator(FixedLocator([height for height, _ in ticks]))
    along.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    along.set_minor_locator(NullLocator())


def table(numbers: Sequence[Number]) -> str:
    """The numbers as Markdown."""
    rows = [f"| {n.what} | {number(n.measured)} | {n.expected} | {n.source} |" for n in numbers]
    return "\n".join(["| number | measured | expected | by |", "|---|---|---|---|", *rows]) + "\n"


def write(name: str, result: Result) -> None:
    """Put the figure and the numbers into the experiment's page."""
    with tempfile.TemporaryDirectory() as folder:
        shrink(save(result.figure, Path(folder) / "figure.png"), PAGES / "images" / f"{name}.png")
    page = PAGES / f"{name}.md"
    text = page.read_text("utf-8")
    if not _NUMBERS.search(text):
        raise SystemExit(f"{page}: no place for the numbers (<!-- numbers --> to <!-- end of numbers -->)")
    page.write_text(_NUMBERS.sub(lambda _: table(result.numbers), text), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments, by name or number; all of them by default")
    parser.add_argument("--short", action="store_true", help="fewer and smaller trainings")
    parser.add_argument("--write", action="store_true", help="put figure and numbers into the pages")
    options = parser.parse_args()
    chosen = [
        n for n in names() if not options.names or any(n == asked or n.startswith(f"{asked}-") for asked in options.names)
    ]
    if not chosen:
        parser.error(f"no such experiment (there are {', '.join(names())})")
    torch.set_num_threads(1)
    failed = 0
    for name in chosen:
        began = time.perf_counter()
        module = experiment(name)
        result: Result = module.run(options.short)
        print(f"{name}: {module.TITLE} ({time.perf_counter() - began:.0f} s)")
        for n in result.numbers:
            print(f"  {'holds' if n.holds else 'FAILS'}  {n.what}: {number(n.measured)} (expected {n.expected}; {n.source})")
            failed += not n.holds
        if options.write:
            write(name, result)
        else:
            print(f"  figure: {save(result.figure, Path('experiments') / f'{name}.png')}")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
