"""The one file: template, style, library, script and data put together, and a policy under which nothing can be loaded."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).with_name("assets")
LIBRARY = ASSETS / "vendor" / "echarts.min.js"
SCRIPTS = ("data", "words", "look", "map", "profile", "series", "attribution", "tables", "findings", "comparison", "page")
"""The files of ``assets/js`` in their order: each speaks of those before it."""


def page(payload: Mapping[str, Any]) -> str:
    """The report as HTML. Raises ``ValueError`` where the payload holds a NaN or an infinity."""
    style = (ASSETS / "report.css").read_text("utf-8")
    library = LIBRARY.read_text("utf-8")
    script = "\n".join((ASSETS / "js" / f"{name}.js").read_text("utf-8") for name in SCRIPTS)
    script = f'"use strict";\n{{\n{script}\n}}\n'
    parts = {
        "policy": policy(style, library, script),
        "style": style,
        "library": library,
        "data": embedded(payload),
        "script": script,
    }
    template = (ASSETS / "template.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def policy(style: str, *scripts: str) -> str:
    """A Content-Security-Policy: this style and these scripts by their hashes, and nothing from anywhere else."""
    allowed = " ".join(_hash(script) for script in scripts)
    closed = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"{closed}; style-src {_hash(style)}; script-src {allowed}"


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that can stand in a ``<script type="application/json">``: no character of it ends the element or begins another."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    return re.sub(r"[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
