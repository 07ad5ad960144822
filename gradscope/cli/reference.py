"""The manual's page of all commands, made from the commands themselves: ``python -m gradscope.cli.reference docs/cli.md``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from gradscope.cli.app import app
from gradscope.cli.terminal import deliver

HEAD = "<!-- Made by python -m gradscope.cli.reference docs/cli.md; do not edit. -->\n\n# Commands\n"


def page() -> str:
    """The whole page, Markdown."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD, f"{_prose(root)}\n", "```\ngradscope [OPTIONS] COMMAND [ARGS]...\n```\n", *_parameters(root)]
    for name, command in root.commands.items():
        parts += [
            f"## gradscope {name}\n",
            f"{_prose(command)}\n",
            f"```\n{_usage(name, command)}\n```\n",
            *_parameters(command),
        ]
    return "\n".join(parts).rstrip() + "\n"


def _prose(command: Any) -> str:
    return inspect.cleandoc(command.help or "")


def _usage(name: str, command: Any) -> str:
    words = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    return " ".join(["gradscope", name, "[OPTIONS]", *words])


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper()
    return name if argument.required else f"[{name}]" + ("..." if argument.nargs == -1 else "")


def _parameters(command: Any) -> Iterator[str]:
    """One table of arguments and options."""
    shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    if not shown:
        return
    yield "| | | default |\n|---|---|---|"
    for parameter in shown:
        yield f"| {_names(parameter)} | {_meaning(parameter)} | {_default(parameter)} |"
    yield ""


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    takes = "" if parameter.is_flag else f" {parameter.metavar or parameter.opts[0].strip('-').upper()}"
    return ", ".join(f"`{name}{takes}`" for name in parameter.opts).replace("|", r"\|")


def _meaning(parameter: Any) -> str:
    variable = f" Environment: `{parameter.envvar}`." if parameter.envvar else ""
    return f"{parameter.help}{variable}".replace("|", r"\|")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False:
        return ""
    return f"`{getattr(parameter.default, 'value', parameter.default)}`"


if __name__ == "__main__":
    deliver(page(), Path(sys.argv[1]) if len(sys.argv) > 1 else None)
