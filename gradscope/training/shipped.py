"""Where the files lie that come with the program beside its code: the configs, and the schemas that editors check them by."""

from __future__ import annotations

from functools import cache
from pathlib import Path

PLACES = ("configs", "../configs")
"""From the package's folder: in a wheel, and in a source tree."""


@cache
def folder() -> Path | None:
    """The folder of the configs, ``None`` in an installation that left them out."""
    package = Path(__file__).resolve().parents[1]
    return next((path for place in PLACES if (path := (package / place).resolve()).is_dir()), None)
