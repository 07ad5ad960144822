"""``gradscope new``: a first config, with what each key means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli.terminal import deliver, hanging, next_command, note
from gradscope.errors import UsageError

LIKE = "plain-sigmoid-20"


def new(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The file to write; left out, it is called like what it is made like.")
    ] = None,
    like: Annotated[
        str, typer.Option("--like", metavar="NAME", help="A config that comes with gradscope, or a kind of network.")
    ] = LIKE,
    list_: Annotated[bool, typer.Option("--list", help="List what a config can be made like.")] = False,
) -> None:
    """Write a config to start from: every key with its value, and what it means.

    With it a first experiment is two commands: gradscope new, and gradscope run with the file that it wrote.
    """
    from gradscope.training.starter import likes, starter

    if list_:
        found = likes()
        width = max(map(len, found))
        deliver("\n".join(hanging(f"{name:<{width}}  ", text) for name, text in found.items()), None)
        return
    if file is not None and like == LIKE and str(file) in likes():
        raise UsageError(f"{file} is what a config can be made like, no name of a file", hint=f"gradscope new --like {file}")
    name, text = starter(like)
    target = file or Path(f"{name}.yaml")
    try:
        with target.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise UsageError(f"{target}: exists already, and is left as it is", hint="name another file") from None
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror or error}") from None
    print(target)
    note("an editor completes and checks its keys with: gradscope schema -o config.schema.json")
    next_command("run", target)
