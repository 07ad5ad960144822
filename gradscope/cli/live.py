"""What is seen while a training runs: progress, speed, time left, loss, and the gradient by layer as a strip. On stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from gradscope.record.grid import Floats
from gradscope.signals.profiles import Profile, depth_profile

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gradscope.training.loop import Progress, Watcher

PERIOD = 0.25
"""Seconds between two looks, at least."""
SHARE = 0.02
"""Share of the training's time that looking may take: a look that costs more comes less often."""
LEVELS = "▁▂▃▄▅▆▇█"
DECADES = 3.0
"""Powers of ten that the strip spans at least: a level profile is to look level."""
WIDEST = 64


@contextmanager
def live_view(name: str, *, quiet: bool) -> Iterator[Watcher | None]:
    """A watcher for ``train`` while the block lasts; None where nobody is looking: no terminal, in CI, or ``quiet``."""
    if quiet or not sys.stderr.isatty() or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        yield None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        view = LiveView(name)

        def look(progress: Progress) -> None:
            if view.due(progress):
                live.update(view.picture(progress), refresh=True)
                view.looked()

        yield look


class LiveView:
    """Draws a training's progress; keeps the pace that ``PERIOD`` and ``SHARE`` allow."""

    def __init__(self, name: str) -> None:
        self.name = name
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
        return Group(head, Text(strip(depth_profile(progress.scope.run))))


def strip(profile: Profile) -> str:
    """The last measured gradient by layer, from input to output, one sign per layer or group of layers.

    Heights are powers of ten. ``0`` is exactly zero, ``!`` not finite; of a group the smallest is shown, or what is wrong.
    """
    measured = profile.measured
    if not len(measured.steps):
        return ""
    values = measured.values[-1][measured.present[-1]]
    groups = np.array_split(values, min(len(values), WIDEST))
    finite = values[np.isfinite(values) & (values > 0)]
    if not finite.size:
        return f"gradient  input {''.join(_sign(g, 0.0, 1.0) for g in groups)} output"
    top, bottom = float(np.log10(finite.max())), float(np.log10(finite.min()))
    low = min(bottom, top - DECADES)
    signs = "".join(_sign(group, low, top) for group in groups)
    return f"gradient  input {signs} output  {finite.min():.1e} to {finite.max():.1e}"


def _sign(group: Floats, low: float, high: float) -> str:
    if not np.isfinite(group).all():
        return "!"
    if not group.all():
        return "0"
    height = (float(np.log10(group.min())) - low) / (high - low)
    return LEVELS[min(int(height * len(LEVELS)), len(LEVELS) - 1)]


def duration(seconds: float) -> str:
    """``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
