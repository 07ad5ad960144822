"""A long record of a deep network at fewer of its steps: a verdict on shares and medians does not need them all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gradscope.record.grid import Grid, Ints
from gradscope.record.run import Run
from gradscope.record.schema import PARAMETERS, STEPS

MOST_VALUES = 1 << 20
"""Values of a column up to which all steps stand: 1,000 steps of 1,000 layers."""
FEWEST_STEPS = 256
"""Steps that stand however many layers there are: a share of one half of them is known to 3 %."""
FIRST = 8
"""Steps at the beginning that all stand: what a network was made with shows there alone."""
WHOLE: Mapping[str, str] = {PARAMETERS.name: "frozen"}
"""Of tables that some steps read in part, a column that whole readings alone have: between them stand norms of gradients."""


class ThinnedRun(Run):
    """``whole`` at steps that are spread evenly, in each table by layer that holds more than ``MOST_VALUES`` values a column.

    The first ``FIRST`` and the last step are among them, none is after ``until``. The table ``steps`` is whole, and so is what
    ``series`` gives of one layer and ``at`` of one step. A smaller table is that of ``whole``. What one of these has read, all
    of the same run have.
    """

    def __init__(self, whole: Run, until: int | None = None) -> None:
        super().__init__(whole.manifest, whole._tables, whole.path)
        self._whole = whole
        self._until = until
        self._cache, self._kept = whole._thinned.setdefault(until, ({}, {}))

    def grid(self, table: str, column: str) -> Grid:
        return super().grid(table, column) if self.kept(table) is not None else self._whole.grid(table, column)

    def at(self, table: str, column: str, step: int) -> Grid:
        kept = self.kept(table)
        if kept is None or step not in kept:
            return self._whole.at(table, column, step)
        self.grid(table, column)  # the next step that is asked for is then at hand
        return super().at(table, column, step)

    def kept(self, table: str) -> Ints | None:
        """The steps at which a table is seen; None where these are all."""
        if table not in self._kept:
            self._kept[table] = self._chosen(table)
        return self._kept[table]

    def _chosen(self, table: str) -> Ints | None:
        data = self._tables.get(table)
        if table == STEPS.name or data is None:
            return None
        steps, width = data.extent()
        if len(steps) * width <= MOST_VALUES:
            return None
        whole = self._read_whole(table)
        steps = whole if len(whole) else steps
        if self._until is not None:
            steps = steps[steps <= self._until]
        return steps[evenly(len(steps), max(MOST_VALUES // width, FEWEST_STEPS))]

    def _read_whole(self, table: str) -> Ints:
        """The steps at which the first parameter was read whole: at these all were."""
        if table not in WHOLE or not self.catalogue.parameters:
            return np.empty(0, np.int64)
        known = self.series(table, WHOLE[table], self.catalogue.parameters[0].name)
        return known.steps[known.present.any(axis=1)]

    def _read(self, table: str, column: str, steps: Ints | None = None) -> Grid:
        kept = self.kept(table)
        if kept is None or (whole := self._whole._cache.get((table, column))) is None:
            return super()._read(table, column, kept)
        return whole.at(np.flatnonzero(np.isin(whole.steps, kept)))


def evenly(count: int, most: int) -> Ints:
    """Places of ``count`` rows, about ``most``: the first ``FIRST``, the last, and those that are spread evenly; or all."""
    if count <= most:
        return np.arange(count)
    spread = np.round(np.linspace(0, count - 1, most)).astype(np.int64)
    return np.union1d(np.arange(FIRST), spread)
