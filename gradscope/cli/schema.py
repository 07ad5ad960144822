"""``gradscope schema``: the config's JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gradscope.cli.terminal import deliver


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of stdout.")
    ] = None,
) -> None:
    """Print the JSON Schema of the config, with which an editor completes and checks it.

    The first line of a config names it: # yaml-language-server: $schema=config.schema.json
    """
    deliver(json.dumps(config_schema(), indent=2), output)


def config_schema() -> dict[str, Any]:
    """The schema, with the sections that other packages add."""
    from gradscope.training.config import Config

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidied(Config.model_json_schema())}


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
