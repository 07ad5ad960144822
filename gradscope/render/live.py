"""What is seen while a training runs: progress, time left, loss, the gradient by layer as a strip, by layer and step as a
small heat map, and findings as they come.

On a terminal it redraws in place a few times a second; elsewhere (a file, CI) it says a line now and then. Between two redraws
a step costs one reading of the clock, and a redraw reads what was recorded since the one before.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gradscope.numbers import number
from gradscope.record.finding import Finding
from gradscope.render.formats.text import SEVERITY
from gradscope.render.mosaic import mosaic
from gradscope.render.strip import strip
from gradscope.render.terminal import Terminal
from gradscope.render.words import plain
from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import condense, joined

PERIOD = 0.25
"""Seconds between two redraws, at least."""
SHARE = 0.005
"""Share of the time that drawing may take: where a redraw is dear they come less often."""
LINES, PAUSE = 10, 1.0
"""Where nothing can be redrawn: lines over a whole training, and seconds between two of them, at least."""
RECENT = 20
"""Updates that the speed is taken over: the first steps of a training are slow, and not what is to come."""
HISTORY = 512
"""Recorded steps that are kept for the map; beyond, of each few the value that stands out most."""
MAP_LINES, FINDING_LINES = 4, 3
NAME, SHORTEST = 40, 10
"""Signs of the run's name at most, and those that are left of it where the line is full."""
MARGIN = 24
"""Columns beside the strip and the map."""
WIDEST = 160


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
        self._whole_name, self.name, self.total, self.start = name, plain(name, NAME), total, start
        self._stream, self._clock = stream, clock
        self._terminal = terminal or Terminal.of(stream)
        self._asked = self._next = clock()
        self._shown: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self._said = 0
        self._taken = start
        self._live: Live | None = None
        self._history: Profile | None = None
        self._latest: Profile | None = None
        self._findings: list[tuple[int, Finding]] = []

    def __enter__(self) -> LiveView:
        if self._terminal.interactive:
            console = self._terminal.console(self._stream)
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
        """Whether it is time to show ``step``, the one just taken, counted from 0. A line for the last step always is; a view
        that can be redrawn is gone after it.
        """
        self._asked = self._clock()
        self._taken = step + 1
        if self._live:
            return self._asked >= self._next
        return step + 1 >= self.total or (self._tenth(step) > self._said and self._asked >= self._next)

    @property
    def shows_gradients(self) -> bool:
        """Whether ``update`` draws a gradient at all: plain lines say none."""
        return self._live is not None

    def update(self, step: int, loss: float, fresh: Profile | None = None) -> None:
        """Show where the training stands: the loss of ``step``, and the gradient by layer as recorded since the last update."""
        if fresh is not None and not fresh.empty:
            self._history, self._latest = joined(self._history, fresh, HISTORY), fresh
        if self._live:
            self._live.update(self._picture(step, loss), refresh=True)
        else:
            self._said = self._tenth(step)
            self._say(f"{self.name}: {', '.join(self._facts(step, loss))}")
        now = self._clock()
        self._shown.append((self._asked, step + 1))
        self._next = now + max(PERIOD if self._live else PAUSE, (now - self._asked) / SHARE)

    def found(self, finding: Finding) -> None:
        """Show a finding of the step being taken: in the view from the next redraw on, elsewhere as a line at once."""
        step = min(self._taken, self.total - 1)
        self._findings.append((step, finding))
        if not self._live:
            self._say(f"{self.name}: step {step + 1:,}: {plain(str(finding))}")

    def _say(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

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

    def _picture(self, step: int, loss: float) -> RenderableType:
        width, facts = self._terminal.width, self._facts(step, loss)
        wide = min(width // 5, 40) if width >= 100 else 0
        if len("  ".join(facts)) + SHORTEST + 2 > width:
            facts = [fact for fact in facts if not fact.endswith("steps/s")]
        left = width - len("  ".join(facts)) - 2 - (wide + 2 if wide else 0)
        name = Text(plain(self._whole_name, min(max(left, SHORTEST), NAME)), style="bold", no_wrap=True)
        bar = [ProgressBar(total=self.total - self.start, completed=step + 1 - self.start, width=wide)] if wide else []
        head = Table.grid(padding=(0, 2))
        head.add_row(name, *bar, *(Text(fact, no_wrap=True, overflow="ellipsis") for fact in facts))
        return Group(head, *self._gradients(step), *self._verdicts())

    def _gradients(self, step: int) -> list[Text]:
        """The last recorded gradient as a strip, and below it all of them as a map that grows from left to right."""
        history, latest = self._history, self._latest
        if history is None or latest is None:
            return []
        room, ascii_only = max(min(self._terminal.width, WIDEST) - MARGIN, 10), not self._terminal.unicode
        line = strip(latest.values[-1], latest.states[-1], room, ascii_only=ascii_only)
        words = [] if line.low is None or line.high is None else [f"{number(line.low)} to {number(line.high)}"]
        words += [f"{sign}: {state.words}" for sign, state in line.legend(ascii_only=ascii_only)]
        lines = [
            Text.assemble(("gradient  input ", "dim"), line.text, (" output", "dim"), no_wrap=True),
            Text(f"          {', '.join(words)}", style="dim", no_wrap=True, overflow="ellipsis"),
        ]
        if len(history.layers) > 1 and len(history.steps) > 1:
            reached = max(1, round(room * (step + 1) / self.total))
            drawn = mosaic(condense(history, 2 * MAP_LINES, reached, end=step), MAP_LINES, self._terminal)
            beside = ["by step  output ", *["                "] * (len(drawn) - 2), "          input "][-len(drawn) :]
            lines += [Text.assemble((label, "dim"), cells, no_wrap=True) for label, cells in zip(beside, drawn, strict=True)]
        return lines

    def _verdicts(self) -> list[Text]:
        """The findings so far, the latest last."""
        shown = self._findings[-FINDING_LINES:]
        lines = [
            Text.assemble(
                (f"step {step + 1:,}  ", "dim"), (plain(str(f)), SEVERITY[f.severity]), no_wrap=True, overflow="ellipsis"
            )
            for step, f in shown
        ]
        before = len(self._findings) - len(shown)
        return [Text(f"{before} before", style="dim"), *lines] if before else lines


def duration(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
