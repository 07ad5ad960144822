"""Sweeps of the experiments: as ``gradscope sweep`` carries them out, or, in the short form, in this process."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gradscope.strict.writing import dump
from gradscope.strict.yaml12 import read
from gradscope.sweep.carry_out import carry_out
from gradscope.sweep.executor import Task
from gradscope.sweep.executors.local import Executor, usual_jobs
from gradscope.sweep.find import Bracket, find
from gradscope.sweep.folder import SweepFolder
from gradscope.sweep.outcome import Outcome
from gradscope.sweep.plan import Plan, load_sweep
from gradscope.sweep.progress import Runs
from gradscope.sweep.table import Table, table_of


class Here:
    """An executor without processes of its own: a few short points take less time than importing torch."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def results(self) -> Iterator[tuple[Task, Outcome]]:
        while self._waiting:
            task = self._waiting.popleft()
            yield task, carry_out(task.config, task.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._waiting.clear()


def swept(sweep: Path, changes: Mapping[str, Any] | None = None, *, short: bool) -> Table:
    """All points of a sweep's file, on the CPU. ``changes`` are put in place of what it has, by its keys."""
    with _opened(sweep, changes, short=short) as (plan, runs):
        for point in plan.points:
            runs.submit(point)
        return table_of(plan, list(runs.results()))


def edges(
    sweep: Path, key: str, until: str, changes: Mapping[str, Any] | None = None, *, tolerance: float, short: bool
) -> list[Bracket]:
    """What ``gradscope sweep SWEEP --find KEY --until VERDICT`` finds: a bracket for each place on the other axes."""
    with _opened(sweep, changes, short=short) as (plan, runs):
        return find(plan, key, until, runs, told=lambda result, more: None, tolerance=tolerance)


@contextmanager
def _opened(sweep: Path, changes: Mapping[str, Any] | None, *, short: bool) -> Iterator[tuple[Plan, Runs]]:
    data = {**read(sweep).data, **(changes or {})}
    if isinstance(data["base"], str):
        data["base"] = str(sweep.parent.resolve() / data["base"])
    data["set"] = {**data.get("set", {}), "device": "cpu"}
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / sweep.name
        file.write_text(dump(data), "utf-8")
        plan = load_sweep(file)
        executor = Here() if short else Executor(usual_jobs({"cpu"}))
        with closing(SweepFolder(Path(work) / "runs", plan)) as folder, executor:
            yield plan, Runs(folder, executor)
