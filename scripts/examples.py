"""The examples of the documentation: found, run as they stand, and compared with what the page shows.

A page's fenced blocks mean:

- ``console``: commands after ``$``, each followed by what it prints, stdout and stderr as a terminal shows them;
- ``bash``: commands to type, without what they print;
- ``python train.py``, ``yaml my.yaml``: a file of that name, for the commands that follow it.

All examples of a page are run in one folder, in their order, beside a copy of ``configs``.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from gradscope.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(?P<word>\w*)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRESS = re.compile(r"^[\w.-]+: step [\d,]+(?: of [\d,]+, loss |: (?:error|warning|info) GS).*\n", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d[\d,.]*(?:e[-+]?\d+)?")
_BARS = re.compile("[▁▂▃▄▅▆▇█]+")


@dataclass(frozen=True)
class Block:
    """A fenced block: the word after the fence, the file's name where there is one, and where its text stands."""

    language: str
    name: str | None
    text: str
    start: int


@dataclass(frozen=True)
class Example:
    """One command and what the page shows below it."""

    command: str
    shown: str


def blocks(page: str) -> list[Block]:
    return [Block(m["word"], m["name"], m["text"], m.start("text")) for m in _FENCE.finditer(page)]


def examples(block: Block) -> list[Example]:
    """The commands of a ``console`` block."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    if parts[0]:
        raise ValueError(f"a console block starts with '$ ': {parts[0]!r}")
    return [Example(*part.split("\n", 1)) for part in parts[1:]]


def played(page: str, folder: Path) -> Iterator[tuple[Block, list[tuple[Example, str]]]]:
    """Run a page's examples in ``folder``: each console block with its examples and what they print now.

    Files that the examples need are written on the way.
    """
    shutil.copytree(ROOT / "configs", folder / "configs", dirs_exist_ok=True)
    code = 0
    for block in blocks(page):
        if block.name:
            (folder / block.name).write_text(block.text, "utf-8")
        if block.language != "console":
            continue
        results: list[tuple[Example, str]] = []
        for example in examples(block):
            if example.command == "echo $?":
                results.append((example, f"{code}\n"))
                continue
            program, *words = shlex.split(example.command)
            code, printed = {"gradscope": _gradscope, "python": _python}[program](words, folder)
            results.append((example, _PROGRESS.sub("", printed)))
        yield block, results


def likeness(text: str) -> str:
    """A text without what may differ from machine to machine: numbers, bars, and where lines are folded."""
    return " ".join(_BARS.sub("▁", _NUMBER.sub("#", text)).split())


def _gradscope(words: list[str], folder: Path) -> tuple[int, str]:
    with chdir(folder):
        result = CliRunner().invoke(app, words, catch_exceptions=False, prog_name="gradscope")
    return result.exit_code, result.output


def _python(words: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout
