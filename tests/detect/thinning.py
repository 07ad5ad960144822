"""The same run as another cadence would have recorded it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gradscope.record.grid import Block
from gradscope.record.run import Run
from gradscope.record.schema import TABLES
from gradscope.record.sink import MemorySink

EVERY_STEP = ("loss", "lr", "wall_seconds", "skipped", "loss_scale", "validation_loss", "accuracy", "validation_accuracy")
"""Columns that the recorder has for every step, whatever it samples."""


def thinned(run: Run, sampled: Iterable[int], until: int | None = None) -> Run:
    """``run`` as if only these steps had been sampled, and as if it had ended before ``until``."""
    steps = np.array(sorted(sampled), np.int64)
    sink = MemorySink(run.manifest)
    for name, table in TABLES.items():
        grids = {c: run.grid(name, c) for c in table.column_names}
        first = grids[table.column_names[0]]
        keep = first.steps < (until if until is not None else np.inf)
        if name != "steps":
            keep &= np.isin(first.steps, steps)
        if not keep.any():
            continue
        read = np.isin(first.steps, steps)
        block = Block(name, first.steps[keep], first.entities, {}, {})
        columns, valid = {}, {}
        for column, grid in grids.items():
            there = grid.present if column in EVERY_STEP or name != "steps" else grid.present & read[:, None]
            columns[column], valid[column] = grid.values[keep], there[keep]
        sink.append(replace(block, columns=columns, valid=valid))
    return sink.run()


def powers(length: int, most: int = 128) -> list[int]:
    """0, 1, 2, 4 ... ``most``: what is sampled at the least."""
    return [0] + [2**i for i in range(20) if 2**i <= most and 2**i < length]
