"""What stands where in a sweep's folder. Imports nothing: ``gradscope plot`` asks of every folder what it is."""

from __future__ import annotations

from pathlib import Path

SWEEP, POINTS, RESULTS = "sweep.yaml", "points", "results.parquet"


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (folder / POINTS).is_dir()
