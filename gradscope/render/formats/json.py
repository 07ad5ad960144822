"""The verdict as one JSON object, for machines."""

from __future__ import annotations

import json

from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render.terminal import PLAIN, Terminal

NAME = "json"
SUFFIX = ".json"


def write(report: Report, run: Run | None = None, *, terminal: Terminal = PLAIN) -> str:
    """``Report.to_dict`` as text; NaN and Infinity cannot stand in it, they raise ``ValueError``."""
    return json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
