"""What every command says the same way: errors and warnings on stderr, results on stdout or in a file, next commands."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from pathlib import Path

from gradscope.errors import ConfigError, GradscopeError
from gradscope.render.files import write_whole

INTERRUPTED = 130
"""Exit code after a Ctrl-C."""
NARROWEST = 20
"""Columns that a wrapped text has at the least."""
MOST = 50
"""Problems of a config that are shown; a file with more is not a config with slips."""


def complain(error: GradscopeError) -> None:
    """An error as one message: ``error: ...`` and ``hint: ...``; the problems of a config each on a line of its own."""
    message = str(error)
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        shown = [*error.problems[:MOST], f"... and {len(error.problems) - MOST} more"][: len(error.problems)]
        message = "\n".join([f"{len(error.problems)} problems", *shown])
    _say("error", "red", message, error.hint)


def warn(message: str, *, hint: str | None = None) -> None:
    _say("warning", "yellow", message, hint)


def note(message: str) -> None:
    """What happens meanwhile, on stderr."""
    print(message, file=sys.stderr)


def deliver(text: str, output: Path | None) -> None:
    """A result: to a file, all of it or nothing, or to stdout."""
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        write_whole(output, lambda draft: draft.write_text(text, "utf-8"))


def hanging(start: str, text: str) -> str:
    """A row of a list: at a terminal the text is wrapped beside its start, or below it where there is too little room; for a
    pipe it stays on one line.
    """
    if not sys.stdout.isatty():
        return start + text
    width = shutil.get_terminal_size().columns
    if width < len(start) + NARROWEST:
        below = textwrap.fill(text, max(width, NARROWEST), initial_indent="  ", subsequent_indent="  ")
        return f"{start.rstrip()}\n{below}"
    return textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start))


def as_json(result: object) -> str:
    """A result for machines. NaN and infinity cannot stand in it: they raise ``ValueError``."""
    return json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)


def next_command(*words: str | Path) -> None:
    """The next command to type, ready to be copied, on stderr."""
    note(f"next: {shlex.join(['gradscope', *map(str, words)])}")


def _say(word: str, colour: str, message: str, hint: str | None) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble((f"{word}:", f"bold {colour}"), f" {message}"))
    if hint:
        console.print(Text.assemble(("hint:", "bold cyan"), f" {hint}"))
