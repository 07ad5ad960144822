"""The manual's page of the config, made from the config's own JSON Schema: ``python -m scripts.config_page docs/config.md``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradscope.cli.schema import config_schema
from gradscope.numbers import exact
from gradscope.strict.writing import dump
from gradscope.training.config import Config

HEAD = """\
<!-- Made by python -m scripts.config_page docs/config.md; do not edit. -->

# Config

What `gradscope run` takes: a YAML file of the keys below. `model` and `data` are required, everything else has a default.
An unknown key is an error, and all problems of a file are told at once. For one run a key may be set on the command line:
`gradscope run FILE model.depth=50`. With this first line an editor completes and checks the keys (`gradscope schema` prints
the file that it names):

    # yaml-language-server: $schema=config.schema.json

YAML is read as version 1.2: `1e-3` is a number, `yes` and `on` are texts. A key that occurs twice is an error.

Every key with its default, for the default network and data:

"""
Schema = Mapping[str, Any]
WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}


def page() -> str:
    """The whole page, Markdown."""
    return HEAD + "\n".join(_parts()).rstrip() + "\n"


def _parts() -> Iterator[str]:
    schema = config_schema()
    default = Config.model_validate({"model": {"kind": "mlp"}, "data": {"name": "digits"}})
    yield f"```yaml\n{dump(default.model_dump(mode='json')).rstrip()}\n```\n"
    yield "## Top level\n"
    yield from _table(schema, required=schema["required"])
    shared = schema["$defs"]
    for key, part in schema["properties"].items():
        if _takes(part) == "a section" and "anyOf" in part:
            yield f"## {key}\n"
            yield f"{part['description']}\n"
            for option in sorted(part["anyOf"], key=lambda o: "allOf" in o):
                chosen = option["allOf"][0] if "allOf" in option else option
                yield from _option(chosen, default="allOf" not in option)
                yield from _nested(key, chosen, shared)
        elif "$ref" in part:
            yield f"## {key}\n"
            yield from _section(key, part, shared)


def _option(option: Schema, *, default: bool) -> Iterator[str]:
    """One of the sections that a name within it chooses."""
    key, named = next((k, v["const"]) for k, v in option["properties"].items() if "const" in v)
    yield f"### {key}: {named}" + (" (the default)\n" if default else "\n")
    yield f"{option['description']}\n"
    yield from _table(option, without=key, required=tuple(option.get("required", ())))


def _section(at: str, part: Schema, shared: Schema) -> Iterator[str]:
    section = shared[_referred(part)]
    yield f"{section['description']}\n"
    yield from _table(section)
    yield from _nested(at, section, shared)


def _nested(at: str, section: Schema, shared: Schema) -> Iterator[str]:
    """The sections that stand in keys of this one."""
    for key, part in section["properties"].items():
        for one in (part, *part.get("anyOf", ())):
            if "$ref" in one:
                yield f"### {at}.{key}\n"
                yield from _section(f"{at}.{key}", one, shared)
            elif _members(one):
                yield f"### {at}.{key}.NAME\n"
                yield from _section(f"{at}.{key}.NAME", _members(one), shared)


def _table(section: Schema, *, without: str = "", required: tuple[str, ...] = ()) -> Iterator[str]:
    rows = [(k, p) for k, p in section["properties"].items() if k != without]
    if not rows:
        return
    yield "| key | takes | default | |\n|---|---|---|---|"
    for key, part in rows:
        default = "required" if key in required else _default(part)
        yield f"| `{key}` | {_takes(part)} | {default} | {part.get('description', '')} |".replace("  ", " ")
    yield ""


def _takes(part: Schema) -> str:
    """What may stand there, in words."""
    if "anyOf" in part:
        options = part["anyOf"]
        if all(o.get("type") == "object" or "allOf" in o for o in options):
            return "a section"
        return ", or ".join(dict.fromkeys(_takes(option) for option in options))
    if "$ref" in part:
        return "a section"
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if part["type"] == "array":
        members = part.get("prefixItems")
        return f"{len(members)} numbers" if members else f"a list of {WORDS[part['items']['type']]}s{_bounds(part['items'])}"
    if _members(part):
        return "names, each with a section"
    return WORDS.get(part["type"], "a mapping") + _bounds(part)


def _members(part: Schema) -> Schema:
    """What stands under each name of a mapping of sections; nothing for other parts."""
    members = part.get("additionalProperties")
    return members if isinstance(members, dict) and "$ref" in members else {}


def _bounds(part: Schema) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    found = [f"{word} {part[bound]:,}" for bound, word in words.items() if bound in part]
    return f" {' and '.join(found)}" if found else ""


def _default(part: Schema) -> str:
    value = part.get("default")
    if isinstance(value, dict) and value:
        return f"`{value['name']}`" if "name" in value else "its defaults"
    return f"`{exact(value) if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)}`"


def _referred(part: Schema) -> str:
    return str(part.get("$ref", "")).rpartition("/")[2]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
