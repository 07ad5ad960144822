"""What text is written for: how wide, in colour or not, in which signs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO


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


PLAIN = Terminal()
