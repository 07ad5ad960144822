"""What is seen while a sweep runs: how far it is, the time left, how the verdicts fall, and the last points as a table.

On a terminal it redraws in place; elsewhere (a file, CI) it says a line for each point, of many points for some.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gradscope.numbers import number
from gradscope.render.formats.text import VERDICT
from gradscope.render.live import duration
from gradscope.render.terminal import Terminal
from gradscope.render.words import plain
from gradscope.sweep.grouping import verdict_of
from gradscope.sweep.progress import Result
from gradscope.sweep.remaining import Remaining
from gradscope.sweep.text import columns, names, place, shown

LAST = 10
"""Points that stand in the live table."""
VERDICT_WIDTH = 19
"""Columns that a verdict keeps, however many axes there are: ``pathological GS101``."""
LINES = 100
"""Lines, about, that are said where nothing can be redrawn."""


class SweepView:
    """A context manager on a stream, usually stderr. ``total`` is the number of points, as far as it is known, ``jobs`` that of
    the processes that carry them out.
    """

    def __init__(
        self,
        name: str,
        total: int,
        stream: TextIO,
        measure: tuple[str, ...],
        *,
        jobs: int = 1,
        terminal: Terminal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self._measure = plain(name, 40), total, measure[:2]
        self._stream, self._clock = stream, clock
        self._terminal = terminal or Terminal.of(stream)
        self._began = clock()
        self._done = 0
        self._remaining = Remaining(jobs, self._began)
        self._verdicts: Counter[str] = Counter()
        self._last: deque[Result] = deque(maxlen=LAST)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._terminal.interactive:
            console = self._terminal.console(self._stream)
            self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def update(self, result: Result, *, more: int | None = None) -> None:
        """Show a result; ``more`` is how many are still to come where that changes."""
        self._done += 1
        if more is not None:
            self.total = self._done + more
        if not result.known:
            self._remaining.note(result.outcome, self._clock(), self.total - self._done)
        self._verdicts[verdict_of(result.outcome)] += 1
        self._last.append(result)
        every = max(self.total // LINES, 1)
        if not self._live and not result.known and (self._done % every == 0 or self._done == self.total):
            self._stream.write(f"{self.name}: {', '.join([self._how_far(), *self._told(result), *self._left()])}\n")
            self._stream.flush()

    def _how_far(self) -> str:
        return f"point {self._done:,} of {self.total:,}"

    def _left(self) -> list[str]:
        seconds = self._remaining.seconds(self.total - self._done, self._clock())
        return [] if seconds is None else [f"{duration(seconds)} left"]

    def _told(self, result: Result) -> list[str]:
        outcome = result.outcome
        numbers = [f"{name} {number(v)}" for name in self._measure if (v := outcome.numbers.get(name)) is not None]
        return [place(result.point.at), " ".join([verdict_of(outcome), *outcome.codes]), *(numbers or [outcome.reason or ""])]

    def _picture(self) -> RenderableType:
        width, facts = self._terminal.width, [self._how_far(), *(self._left() or [duration(self._clock() - self._began)])]
        bar = [ProgressBar(total=max(self.total, 1), completed=self._done, width=min(width // 5, 40))] if width >= 80 else []
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(self.name, style="bold", no_wrap=True, overflow="ellipsis"), *bar, *(Text(f, no_wrap=True) for f in facts)
        )
        counts = ", ".join(f"{n:,} {what}" for what, n in self._verdicts.most_common())
        return Group(head, *([Text(counts, no_wrap=True, overflow="ellipsis"), *self._latest()] if counts else []))

    def _latest(self) -> list[Text]:
        """The last points: a column for each axis and each number, and what became of it, which has the room that is left."""
        keys = list(self._last[0].point.at)
        table = [[*names(keys), *self._measure]]
        ends = [("verdict", "dim")]
        for result in self._last:
            outcome, verdict = result.outcome, verdict_of(result.outcome)
            numbers = [number(v) if (v := outcome.numbers.get(name)) is not None else "-" for name in self._measure]
            table.append([*(shown(result.point.at[key]) for key in keys), *numbers])
            style = VERDICT[verdict][1].removeprefix("bold ") if verdict in VERDICT else "dim"
            ends.append((" ".join([verdict, *outcome.codes, *([plain(outcome.reason, 120)] if outcome.reason else [])]), style))
        lines = columns(table, self._terminal.width - VERDICT_WIDTH - 2, numbers=len(keys))
        return [
            Text.assemble((f"{line}  ", style if i == 0 else ""), (end, style), no_wrap=True, overflow="ellipsis")
            for i, (line, (end, style)) in enumerate(zip(lines, ends, strict=True))
        ]
