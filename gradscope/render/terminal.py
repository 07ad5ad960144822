"""What text is written for: how wide, in colour or not, in which signs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SIGNS = {"✓": "+", "✗": "x", "→": "->", "…": "...", "⁻": "^-", "±": "+-"}
"""What is written where a terminal cannot show these."""
WIDEST = 100
"""Columns that a sentence fills at most: longer lines are hard to read."""


@dataclass(frozen=True)
class Terminal:
    """Where text goes. The default is a file: 80 columns, no colour.

    ``interactive`` says that what was written can be drawn over, as a live view does.
    """

    width: int = 80
    colour: bool = False
    unicode: bool = True
    interactive: bool = False

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Terminal:
        """What a stream is. NO_COLOR and FORCE_COLOR are honoured; in CI and on a dumb terminal nothing is drawn over."""
        shown = stream.isatty()
        dumb = environment.get("TERM") == "dumb"
        colour = (shown and not dumb and not environment.get("NO_COLOR")) or bool(environment.get("FORCE_COLOR"))
        try:
            "█⁻✓".encode(stream.encoding or "ascii")
            signs = True
        except (UnicodeEncodeError, LookupError):
            signs = False
        width = shutil.get_terminal_size().columns if shown else 80
        return cls(max(width, 40), colour, signs, shown and not dumb and not environment.get("CI"))

    def console(self, stream: TextIO) -> Console:
        """rich's, on the stream that this is of, for what is drawn over."""
        from rich.console import Console

        return Console(file=stream, width=self.width, force_terminal=True, no_color=not self.colour, highlight=False)


PLAIN = Terminal()


def typeset(page: RenderableType, terminal: Terminal, *, fold: bool = True) -> str:
    """What rich makes of a page on such a terminal, as text without blanks at the ends of lines.

    ``fold`` breaks lines that the terminal has no room for.
    """
    from rich.console import Console

    out = StringIO()
    console = Console(
        file=out,
        width=terminal.width,
        force_terminal=terminal.colour,
        no_color=not terminal.colour,
        color_system="standard" if terminal.colour else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(page, soft_wrap=not fold)
    text = "\n".join(line.rstrip() for line in out.getvalue().split("\n"))
    if not terminal.unicode:
        for sign, instead in SIGNS.items():
            text = text.replace(sign, instead)
        text = text.encode("ascii", "backslashreplace").decode()
    return text
