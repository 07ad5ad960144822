"""Python's garbage collector, made to wait for more while a step is sampled.

A hook on each node of the graph keeps two objects alive until the loss is let go of. Made by the thousand they set off
collection after collection, each of which finds nothing, and in the end one of everything that the process holds: on a net of
a thousand layers a tenth of what a sampled step takes, and once in a while four times a step in one go.
"""

from __future__ import annotations

import gc

PATIENCE = 50_000
"""Objects that may come alive before young garbage is collected; Python's own number is 700 to 2,000. Not none at all, for a
step that is never ended (out of memory in an experiment by hand) would leave the process without collection.
"""


class Collector:
    """Collects young garbage seldom from ``hold`` to ``release``, unless somebody has it so or switched off anyway."""

    def __init__(self) -> None:
        self._usual = 0

    def hold(self) -> None:
        young, *older = gc.get_threshold()
        if 0 < young < PATIENCE:
            self._usual = young
            gc.set_threshold(PATIENCE, *older)

    def release(self) -> None:
        if self._usual:
            young, *older = gc.get_threshold()
            if young == PATIENCE:  # else somebody else has set it since
                gc.set_threshold(self._usual, *older)
            self._usual = 0
