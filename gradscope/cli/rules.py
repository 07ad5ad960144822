"""``gradscope rules``: the catalogue of what can be found."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gradscope.cli.terminal import deliver, hanging, next_command


def rules(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A rule, by name or code; left out, all of them.")] = None,
) -> None:
    """List the rules, or print the page of one: what it detects, by which numbers, known false alarms, what to do."""
    from gradscope.detect.catalogue import page, rows

    if name is not None:
        _print_page(page(name))
        return
    catalogue = rows()
    width = max(len(row.name) for row in catalogue)
    deliver("\n".join(hanging(f"{row.code}  {row.name:<{width}}  ", row.summary) for row in catalogue), None)
    next_command("rules", catalogue[0].name)


def _print_page(markdown: str) -> None:
    """Set for a person at a terminal, as it stands for a pipe."""
    if not sys.stdout.isatty():
        deliver(markdown, None)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=min(Console().width, 100)).print(Markdown(markdown))
