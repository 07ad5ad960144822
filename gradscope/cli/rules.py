"""``gradscope rules``: the catalogue of what can be found."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any

import typer

from gradscope.cli.terminal import deliver, next_command
from gradscope.errors import UsageError, did_you_mean


def rules(name: Annotated[str | None, typer.Argument(help="A rule, by name or code; left out, all of them.")] = None) -> None:
    """List the rules, or print the page of one: what it detects, by which numbers, known false alarms, what to do."""
    from gradscope.detect.engine import RULES

    catalogue = sorted(((rule.CODE, key, rule) for key, rule in RULES.items()), key=lambda entry: entry[:2])
    if name is None:
        width = max(len(key) for _, key, _ in catalogue)
        deliver(
            "\n".join(f"{code}  {key:<{width}}  {_page(rule).partition(chr(10))[0]}" for code, key, rule in catalogue), None
        )
        next_command("rules", catalogue[0][1])
        return
    for code, key, rule in catalogue:
        if name in (code, key):
            _print_page(f"# {code} {key}\n\n{_page(rule)}")
            return
    known = [word for code, key, _ in catalogue for word in (key, code)]
    raise UsageError(f"no rule is called {name!r}{did_you_mean(name, known)}", hint="gradscope rules lists them")


def _page(rule: Any) -> str:
    return inspect.cleandoc(rule.__doc__ or "")


def _print_page(markdown: str) -> None:
    """Set for a person at a terminal, as it stands for a pipe."""
    if not sys.stdout.isatty():
        deliver(markdown, None)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=min(Console().width, 100)).print(Markdown(markdown))
