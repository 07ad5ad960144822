"""A sweep carried out: what is known is taken, the rest goes to an executor, and each outcome is put on file as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from gradscope.sweep.executor import Executor, Task
from gradscope.sweep.folder import SweepFolder
from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.plan import Point


@dataclass(frozen=True)
class Result:
    """A point and what became of it; ``known`` says that it was carried out before."""

    point: Point
    outcome: Outcome
    known: bool


class Runs:
    """Takes points and gives their results. Points of the same config are one training. ``retry`` tries failed ones again."""

    def __init__(self, folder: SweepFolder, executor: Executor, *, retry: bool = False) -> None:
        self._folder, self._executor, self._retry = folder, executor, retry
        self._ready: deque[Result] = deque()
        self._asked: dict[str, list[Point]] = {}
        """Key -> the points that wait for its outcome."""

    def submit(self, point: Point) -> None:
        if point.config is None:
            self._ready.append(Result(point, Outcome(End.REFUSED, point.refused), known=False))
        elif point.key in self._asked:
            self._asked[point.key].append(point)
        elif (known := self._folder.known(point)) is not None and not (self._retry and known.end is End.FAILED):
            self._ready.append(Result(point, known, known=True))
        else:
            self._asked[point.key] = [point]
            self._executor.submit(Task(point.key, point.config, self._folder.run_folder(point)))

    def results(self) -> Iterator[Result]:
        """Every point's, as they come: known ones first. Raises ``KeyboardInterrupt`` where a point was interrupted."""
        yield from self._now()
        for task, outcome in self._executor.results():
            points = self._asked.pop(task.key)
            self._folder.keep(points[0], outcome)
            if outcome.end is End.INTERRUPTED:
                raise KeyboardInterrupt
            for point in points:
                yield Result(point, outcome, known=False)
            yield from self._now()

    def _now(self) -> Iterator[Result]:
        while self._ready:
            yield self._ready.popleft()
