"""What is seen while a training runs: progress, steps/s, time left, loss, and the gradient by layer as a strip.

Takes plain data. On a terminal it redraws in place a few times a second; elsewhere (a file, CI) it says a line now and
then. Between two redraws a step costs one reading of the clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gradscope.record.grid import Bools, Floats
from gradscope.render.strip import strip
from gradscope.render.terminal import Terminal
from gradscope.render.words import number, plain
from gradscope.signals.states import states

PERIOD = 0.25
"""Seconds between two redraws, at least."""
SHARE = 0.01
"""Share of the time that drawing may take: where a redraw is dear they come less often."""
LINES, PAUSE = 10, 1.0
"""Where nothing can be redrawn: lines over a whole training, and seconds between two of them, at least."""
RECENT = 20
"""Updates that the speed is taken over: the first steps of a training are slow, and not what is to come."""


class LiveView:
    """A context manager on a stream, usually stderr. Call ``update`` after a step where ``due()`` is true.

    ``total`` is the number of steps, ``start`` the first one to be taken (of a resumed training), ``clock`` gives seconds.
    """

    def __init__(
        self,
        name: str,
        total: int,
        stream: TextIO,
        *,
        start: int = 0,
        terminal: Terminal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.start = plain(name, 40), total, start
        self._stream, self._clock = stream, clock
        self._terminal = terminal or Terminal.of(stream)
        self._asked = self._next = clock()
        self._shown: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self._said = 0
        self._live: Live | None = None

    def __enter__(self) -> LiveView:
        if self._terminal.interactive:
            console = Console(
                file=self._stream,
                width=self._terminal.width,
                force_terminal=True,
                no_color=not self._terminal.colour,
                highlight=False,
            )
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        began = self._clock()
        self._shown.append((began, self.start))
        self._next = began + (0.0 if self._live else PAUSE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def due(self, step: int) -> bool:
        """Whether it is time to show ``step``, the one just taken, counted from 0. The last step always is."""
        self._asked = self._clock()
        if step + 1 >= self.total:
            return True
        if self._live:
            return self._asked >= self._next
        return self._tenth(step) > self._said and self._asked >= self._next

    def update(self, step: int, loss: float, gradient: Floats | None = None, present: Bools | None = None) -> None:
        """Show where the training stands: the loss of ``step`` and the gradient norm by layer (L,), input first.

        ``present`` (L,) says which layers were measured; without it all were.
        """
        if self._live:
            self._live.update(self._picture(step, loss, gradient, present), refresh=True)
        else:
            self._said = self._tenth(step)
            self._stream.write(f"{self.name}: {', '.join(self._facts(step, loss))}\n")
            self._stream.flush()
        now = self._clock()
        self._shown.append((self._asked, step + 1))
        self._next = now + max(PERIOD if self._live else PAUSE, (now - self._asked) / SHARE)

    def _tenth(self, step: int) -> int:
        return (step + 1 - self.start) * LINES // max(self.total - self.start, 1)

    def _facts(self, step: int, loss: float) -> list[str]:
        then, before = self._shown[0]
        taken, seconds = step + 1 - before, self._asked - then
        facts = [f"step {step + 1:,} of {self.total:,}", f"loss {number(loss, 4)}"]
        if taken > 0 and seconds > 0.0:
            left = (self.total - step - 1) * seconds / taken
            facts += [f"{number(taken / seconds)} steps/s", f"{duration(left)} left"]
        return facts

    def _picture(self, step: int, loss: float, gradient: Floats | None, present: Bools | None) -> RenderableType:
        width = self._terminal.width
        bar: list[RenderableType] = []
        if width >= 100:
            bar = [ProgressBar(total=self.total - self.start, completed=step + 1 - self.start, width=min(width // 5, 40))]
        head = Table.grid(padding=(0, 2))
        head.add_row(Text(self.name, style="bold", overflow="ellipsis", no_wrap=True), *bar, *self._facts(step, loss))
        lines: list[RenderableType] = [head]
        if gradient is not None and len(gradient):
            found = states(gradient, np.ones(len(gradient), bool) if present is None else present)
            ascii_only = not self._terminal.unicode
            line = strip(gradient, found, max(min(width, 120) - 24, 10), ascii_only=ascii_only)
            words = [] if line.low is None or line.high is None else [f"{number(line.low)} to {number(line.high)}"]
            words += [f"{sign}: {state.words}" for sign, state in line.legend(ascii_only=ascii_only)]
            lines.append(Text.assemble(("gradient  input ", "dim"), line.text, (" output", "dim"), no_wrap=True))
            lines.append(Text(f"          {', '.join(words)}", style="dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)


def duration(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
