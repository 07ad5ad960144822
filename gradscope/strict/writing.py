"""Plain values written as YAML."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from gradscope.numbers import exact
from gradscope.strict.yaml12 import BASED, FLOAT

_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")


def dump(data: Any) -> str:
    """Plain values as YAML that ``parse`` and any YAML 1.1 reader read back the same; the innermost sections on a line."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return text


def flow(data: Any) -> str:
    """The same on one line, to stand within a text: ``{branch_scale: 1/sqrt(depth)}``, ``0.005``."""
    if isinstance(data, float) and math.isfinite(data):
        return exact(data)
    if isinstance(data, dict):
        return "{" + ", ".join(f"{flow(k)}: {flow(v)}" for k, v in data.items()) + "}"
    if isinstance(data, list | tuple):
        return "[" + ", ".join(flow(v) for v in data) + "]"
    text: str = yaml.dump([data], Dumper=_Dumper, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.strip()[1:-1]


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML 1.2 would read as numbers, beside those that YAML 1.1 would."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """A line break of Unicode's would be folded into a space, within any quotes but those in which it is escaped."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", BASED, ["0"])
