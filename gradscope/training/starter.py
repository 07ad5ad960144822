"""A first config to edit: every key with its value, and what it means beside it. No torch here."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradscope.errors import UsageError, did_you_mean
from gradscope.strict.section import Section, descriptions
from gradscope.strict.writing import dump
from gradscope.training.config import ARCHITECTURES, DATASETS, Config, load_config
from gradscope.training.shipped import folder

WIDTH = 110
"""Columns of a line with its comment; a longer comment stands above its key."""


def shipped() -> dict[str, Path]:
    """The configs that come with the program, by name: those of the experiments are ``experiments/.../config``."""
    home = folder()
    found = sorted(home.rglob("*.yaml")) if home else []
    return {str(path.relative_to(home).with_suffix("")): path for path in found if _is_config(path)} if home else {}


def likes() -> dict[str, str]:
    """Everything that a config can be made like, with what it is in a few words."""
    configs = {name: _first_comment(path) for name, path in shipped().items()}
    kinds = {kind: _summary(ARCHITECTURES[kind].Options) for kind in ARCHITECTURES if _of_kind(kind) is not None}
    return configs | {kind: text for kind, text in kinds.items() if kind not in configs}


def starter(like: str) -> tuple[str, str]:
    """The name and the text of a config made like a shipped one, of which the beginning of the name will do, or like the
    defaults of a kind of network.

    Raises ``UsageError`` for what is neither, or the beginning of several names.
    """
    configs = shipped()
    begin = [name for name in configs if name.startswith(like)]
    if like in configs or (like not in ARCHITECTURES and len(begin) == 1):
        name = like if like in configs else begin[0]
        return Path(name).name, _written(load_config(configs[name]), name, _comments(configs[name]))
    if like in ARCHITECTURES:
        config = _of_kind(like)
        if config is None:
            raise UsageError(f"a network of kind {like!r} has no defaults to start from", hint="docs/config.md lists its keys")
        return like, _written(config, like, [])
    if begin:
        raise UsageError(f"several configs begin with {like!r}: {', '.join(begin)}", hint="name one of them")
    known = likes()
    raise UsageError(
        f"there is no config and no kind of network called {like!r}{did_you_mean(like, known)}",
        hint="gradscope new --list shows what there is",
    )


def _is_config(path: Path) -> bool:
    """Whether a file is a config and not, say, a sweep: it has a network and data of its own."""
    keys = {line.partition(":")[0] for line in path.read_text("utf-8").splitlines() if line[:1].isalpha()}
    return {"model", "data"} <= keys


def _of_kind(kind: str) -> Config | None:
    """The defaults of a kind of network on the first data that it can read: digits, in whichever layout.

    None for a kind that is nothing without keys that have no default, such as somebody's own factory.
    """
    layouts = DATASETS["digits"].Options().layouts
    for data in [
        {"name": "digits"},
        *({"name": "digits", "layout": layout} for layout in layouts),
        *({"name": n} for n in DATASETS),
    ]:
        try:
            return Config.model_validate({"name": kind, "model": {"kind": kind}, "data": data})
        except ValidationError:
            continue
    return None


def _written(config: Config, like: str, about: list[str]) -> str:
    head = [
        "# yaml-language-server: $schema=config.schema.json",
        f"# Made like {like}. Train it with: gradscope run FILE. Before that, look at it with: gradscope probe FILE.",
        "# Every key stands here with its value; what is deleted has its default.",
        *(["#", *about] if about else []),
    ]
    return "\n".join([*head, *_keys(config, 0)]) + "\n"


def _keys(section: Section, depth: int) -> Iterator[str]:
    """The lines of a section; on the top level a comment above each key, within it beside it where there is room."""
    indent, meant = "  " * depth, descriptions(type(section))
    for key in type(section).model_fields:
        if depth == 0 and key == "name":
            continue  # a file has its own
        value, text = getattr(section, key), meant.get(key, "")
        if isinstance(value, Section):
            told = [text, _summary(type(value))] if depth == 0 and _summary(type(value)) != text else [text]
            yield from ([""] if depth == 0 else [])
            yield from (line for part in told for line in _comment(part, indent))
            yield f"{indent}{key}:"
            yield from _keys(value, depth + 1)
            continue
        line = indent + _pair(key, section.model_dump(mode="json")[key])
        if depth and text and len(line) + len(text) + 4 <= WIDTH:
            yield f"{line}  # {text}"
        else:
            yield from ([""] if depth == 0 else [])
            yield from _comment(text, indent)
            yield line


def _pair(key: str, value: Any) -> str:
    """``depth: 20``, on one line."""
    text = dump({key: value}).strip()
    return text[1:-1] if text.startswith("{") else text


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _summary(section: type[Section]) -> str:
    """The first sentence of a section's docstring."""
    text = " ".join((inspect.getdoc(section) or "").split())
    return re.split(r"(?<!\bal)\. (?=[A-Z])", text)[0].rstrip(".") + "." if text else ""


def _comments(path: Path) -> list[str]:
    """The comment at the head of a shipped config, without the line for editors."""
    lines = path.read_text("utf-8").splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line for line in lines[:end] if "$schema=" not in line]


def _first_comment(path: Path) -> str:
    """The verdict that a shipped config promises, or the comment up to the first line that ends a sentence."""
    told: list[str] = []
    for line in _comments(path):
        told.append(line.lstrip("# "))
        if told[0].startswith("Verdict: ") or line.endswith("."):
            break
    return " ".join(told).removeprefix("Verdict: ")
