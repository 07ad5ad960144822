"""An oscilloscope for gradients: what is wrong with a network that trains badly, why, and what to do.

Names are imported when they are first used, so that ``import gradscope`` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope.detect.engine import check
    from gradscope.errors import GradscopeError
    from gradscope.probe import probe  # type: ignore[no-redef]
    from gradscope.record.finding import Finding, Report, Severity, Verdict
    from gradscope.record.reader import load_run
    from gradscope.record.run import Run
    from gradscope.render.drawing import plot
    from gradscope.scope import Scope, watch

__version__ = "0.1.0"

__all__ = [
    "Finding",
    "GradscopeError",
    "Report",
    "Run",
    "Scope",
    "Severity",
    "Verdict",
    "__version__",
    "check",
    "load_run",
    "plot",
    "probe",
    "watch",
]

_HOMES = {
    "Finding": "gradscope.record.finding",
    "GradscopeError": "gradscope.errors",
    "Report": "gradscope.record.finding",
    "Run": "gradscope.record.run",
    "Scope": "gradscope.scope",
    "Severity": "gradscope.record.finding",
    "Verdict": "gradscope.record.finding",
    "check": "gradscope.detect.engine",
    "load_run": "gradscope.record.reader",
    "plot": "gradscope.render.drawing",
    "probe": "gradscope.probe",
    "watch": "gradscope.scope",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The package: a public name stays what it is when a folder of the same name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
