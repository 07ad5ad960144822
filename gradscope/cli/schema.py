"""``gradscope schema``: the JSON Schema of a config, or of a sweep."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradscope.cli.terminal import deliver
from gradscope.training.shipped import folder

if TYPE_CHECKING:
    from gradscope.strict.section import Section


EXTENDED = ("gradscope.architectures", "gradscope.datasets")
"""The registries whose files bring a section each, by their entry-point groups."""


class Of(StrEnum):
    CONFIG = "config"
    SWEEP = "sweep"


def schema(
    of: Annotated[Of, typer.Argument(metavar=f"[{'|'.join(Of)}]", help="Of which file.", show_default=True)] = Of.CONFIG,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """Print the JSON Schema of a config, or of a sweep, with which an editor completes and checks it.

    The first line of a file names it: # yaml-language-server: $schema=config.schema.json
    """
    deliver(_shipped(of) or text(of), output)


def text(of: Of) -> str:
    """The schema made anew, with the sections that other packages add."""
    return json.dumps(config_schema() if of is Of.CONFIG else sweep_schema(), indent=2)


def _shipped(of: Of) -> str | None:
    """The schema as it lies beside the configs, made by the same code: to make it takes longer than all the rest of the start.
    ``None`` where it does not hold: where another package adds a section.
    """
    home = folder()
    path = home and home / f"{of}.schema.json"
    added = any(entry_points(group=group) for group in EXTENDED)
    return path.read_text("utf-8") if path and path.is_file() and not added else None


def config_schema() -> dict[str, Any]:
    """The schema of a config, with the sections that other packages add."""
    from gradscope.training.config import Config

    return _schema(Config)


def sweep_schema() -> dict[str, Any]:
    """The schema of a sweep, that of a config in it."""
    from gradscope.sweep.spec import Sweep

    return _schema(Sweep)


def _schema(section: type[Section]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidied(section.model_json_schema())}


def _tidied(part: Any) -> Any:
    """Descriptions on one line each, and no titles: they repeat the keys."""
    if isinstance(part, list):
        return [_tidied(p) for p in part]
    if not isinstance(part, dict):
        return part
    tidy = {k: _tidied(v) for k, v in part.items() if not (k == "title" and isinstance(v, str))}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = " ".join(tidy["description"].split())
    return tidy
