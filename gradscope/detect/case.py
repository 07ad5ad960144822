"""What the rules share about one run: signals read once, and what the run achieved."""

from __future__ import annotations

from gradscope.record.run import Run


class Case:
    """One run before the rules."""

    def __init__(self, run: Run) -> None:
        self.run = run
