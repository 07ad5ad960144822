"""Output: figures and formats, one file each. Matplotlib is imported when something is drawn, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.plugins import Registry

if TYPE_CHECKING:
    from gradscope.render.drawing import plot, save, write_data

__all__ = ["FIGURES", "FORMATS", "plot", "save", "write_data"]

FIGURES = Registry("gradscope.render.figures", noun="figure")
FORMATS = Registry("gradscope.render.formats", noun="format")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gradscope.render import drawing

    return getattr(drawing, name)
