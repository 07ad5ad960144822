"""What is seen while a training runs: progress, speed, time left, loss, and the gradient by layer as a strip. On stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gradscope.render.strip import strip
from gradscope.render.terminal import Terminal
from gradscope.render.words import number
from gradscope.signals.profiles import Profile, depth_profile

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gradscope.training.loop import Progress, Watcher

PERIOD = 0.25
"""Seconds between two looks, at least."""
SHARE = 0.02
"""Share of the training's time that looking may take: a look that costs more comes less often."""


@contextmanager
def live_view(name: str, *, quiet: bool) -> Iterator[Watcher | None]:
    """A watcher for ``train`` while the block lasts; None where nobody is looking: no terminal, in CI, or ``quiet``."""
    terminal = Terminal.of(sys.stderr)
    if quiet or not terminal.interactive:
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        view = LiveView(name, terminal)

        def look(progress: Progress) -> None:
            if view.due(progress):
                live.update(view.picture(progress), refresh=True)
                view.looked()

        yield look


class LiveView:
    """Draws a training's progress; keeps the pace that ``PERIOD`` and ``SHARE`` allow."""

    def __init__(self, name: str, terminal: Terminal) -> None:
        self.name, self.terminal = name, terminal
        self.began = self.begun_look = time.monotonic()
        self.next_look = 0.0
        self.first_step: int | None = None

    def due(self, progress: Progress) -> bool:
        now = time.monotonic()
        if self.first_step is None:
            self.first_step, self.began = progress.step, now
        self.begun_look = now
        return now >= self.next_look

    def looked(self) -> None:
        now = time.monotonic()
        self.next_look = now + max(PERIOD, (now - self.begun_look) / SHARE)

    def picture(self, progress: Progress) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        done = progress.step + 1
        taken, seconds = progress.step - (self.first_step or 0), self.begun_look - self.began
        cells: list[RenderableType] = [
            Text(self.name, style="bold"),
            f"step {done:,} of {progress.steps:,}",
            ProgressBar(total=progress.steps, completed=done, width=24),
            f"loss {progress.loss:.4g}",
        ]
        if taken and seconds:
            cells += [f"{taken / seconds:,.3g} steps/s", f"{duration((progress.steps - done) * seconds / taken)} left"]
        head = Table.grid(padding=(0, 2))
        head.add_row(*cells)
        return Group(head, Text(gradient(depth_profile(progress.scope.run), self.terminal)))


def gradient(profile: Profile, terminal: Terminal) -> str:
    """The last measured gradient by layer, from input to output, on one line; nothing where there is none."""
    shown = profile.measured
    if shown.empty:
        return ""
    line = strip(shown.values[-1], shown.states[-1], max(terminal.width - 50, 16), ascii_only=not terminal.unicode)
    ends = f"{number(line.low)} to {number(line.high)}" if line.low is not None and line.high is not None else "nothing finite"
    return f"gradient  input {line.text} output  {ends}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
