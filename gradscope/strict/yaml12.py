"""YAML 1.2 with positions: a text becomes a ``Document``.

PyYAML reads YAML 1.1, in which ``1e-3`` is a text and ``yes`` is true. Here its scanner and parser are used, and the
scalars are read by the core schema of YAML 1.2, as editors do. Tags, merge keys and duplicate keys are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from gradscope.errors import ConfigError
from gradscope.strict.document import Document, Place, Problem, Spot, Where, short, shown

SIZE_LIMIT = 256 * 1024
"""Bytes. A config has about a thousand; a file beyond this is something else, or hostile."""
VALUE_LIMIT = 10_000
"""Values after aliases are resolved: a few lines of aliases of aliases can stand for billions."""

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = {".nan", ".NaN", ".NAN"}


def read(path: Path | str) -> Document:
    """Read a file. Raises ``ConfigError`` where it cannot be read, is too large, or is not YAML."""
    try:
        with open(path, "rb") as stream:
            raw = stream.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"], hint=_nearby(Path(path))) from None
    except IsADirectoryError:
        raise ConfigError([f"{path}: is a folder (expected a YAML file)"], hint=_nearby(Path(path) / "x")) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    if len(raw) > SIZE_LIMIT:
        raise ConfigError([f"{path}: too large for a config (expected at most {SIZE_LIMIT // 1024} KiB)"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        raise ConfigError([f"{path}:{line}:{column}: not a text in UTF-8 (byte 0x{raw[error.start]:02x})"]) from None
    document = parse(text, str(path))
    if not isinstance(document.data, dict):
        got = "an empty file" if document.data is None else f"{shown(document.data)} at the top"
        raise ConfigError([f"{document.spot(())}: not a config (got {got}; expected keys with values, such as 'seed: 0')"])
    return document


def parse(text: str, file: str, *, first_line: int = 1) -> Document:
    """Read a text. Raises ``ConfigError`` on bad syntax; what else is wrong stands in ``problems``."""
    try:
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Spot(file, mark.line + first_line, mark.column + 1) if mark else Spot(file, first_line, 1)
        raise ConfigError([str(Problem(at, None, _syntax(error, text, mark)))]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        column = error.position - (text.rfind("\n", 0, error.position) + 1)
        at = Spot(file, line + first_line, column + 1)
        raise ConfigError([str(Problem(at, None, f"not a text character (got {chr(error.character)!r})"))]) from None
    except RecursionError:
        raise ConfigError([f"{file}:{first_line}:1: nested too deeply for a config"]) from None
    return _Reader(file, first_line).document(text, node)


def overridden(document: Document, overrides: Sequence[str]) -> Document:
    """The same with ``model.depth=50`` set, each value read as YAML and placed at ``--set:<its number>``."""
    for number, override in enumerate(overrides, 1):
        document = _with(document, override, number)
    return document


def _with(document: Document, override: str, number: int) -> Document:
    path, equals, value = override.partition("=")
    where = tuple(path.strip().split("."))
    here = Spot("--set", number, 1, 0, len(path))
    if not equals or not all(where):
        return document.wrong(Problem(here, None, f"not an override (got {override!r}; expected KEY=VALUE, model.depth=50)"))
    # Blanks in the place of the key keep the columns of the value true.
    read = parse(" " * (len(path) + 1) + value, "--set", first_line=number)
    return document.grafted(where, read, here)


class _Loader(yaml.SafeLoader):
    """Tells plain scalars from quoted ones and leaves their reading to ``_Reader``."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        return "plain" if kind is yaml.ScalarNode and implicit[0] else "untagged"


class _Reader:
    """Turns PyYAML's nodes into values."""

    def __init__(self, file: str, first_line: int) -> None:
        self.file, self.first_line = file, first_line
        self.places: dict[Where, Place] = {}
        self.problems: list[Problem] = []
        self.count = 0

    def document(self, text: str, node: yaml.Node | None) -> Document:
        data = self.value(node, (), None, ()) if node is not None else None
        return Document(self.file, text, data, self.places, tuple(self.problems))

    def value(self, node: yaml.Node, where: Where, key: Spot | None, above: tuple[yaml.Node, ...]) -> Any:
        self.count += 1
        spot = self.spot(node)
        if self.count > VALUE_LIMIT or node in above:
            what = "an alias holds itself" if node in above else f"more than {VALUE_LIMIT:,} values, those of aliases counted"
            raise ConfigError([str(Problem(spot, where, what))])
        self.places[where] = Place(spot, key)
        if node.tag not in ("plain", "untagged"):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.wrong(spot, where, f"tags are not allowed (got {short(tag)}; expected the plain value)")
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self.items(node, where, (*above, node)))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(n, (*where, i), None, (*above, node)) for i, n in enumerate(node.value)]
        return self.plain(node, where) if node.tag == "plain" else node.value

    def items(self, node: yaml.MappingNode, where: Where, above: tuple[yaml.Node, ...]) -> Iterator[tuple[str, Any]]:
        seen: dict[str, Spot] = {}
        for key_node, value_node in node.value:
            spot, key = self.spot(key_node), key_node.value
            if not isinstance(key, str):
                self.wrong(spot, where, "a key must be a word")
            elif key in seen:
                first = seen[key]
                self.wrong(spot, (*where, key), f"duplicate key (first at {first.line}:{first.column})")
            elif key == "<<" and key_node.tag == "plain":
                self.wrong(spot, (*where, key), "merge keys are not part of YAML 1.2; write the keys out")
            else:
                seen[key] = spot
                yield key, self.value(value_node, (*where, key), spot, above)

    def plain(self, node: yaml.Node, where: Where) -> Any:
        try:
            return scalar(node.value)
        except ValueError:  # more digits than Python converts
            self.wrong(self.spot(node), where, f"a number of {len(node.value)} digits")
            return None

    def spot(self, node: yaml.Node) -> Spot:
        start, end = node.start_mark, node.end_mark
        return Spot(self.file, start.line + self.first_line, start.column + 1, start.index, end.index)

    def wrong(self, spot: Spot, where: Where, what: str) -> None:
        self.problems.append(Problem(spot, where, what))


def scalar(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if BASED.fullmatch(text):
        return int(text, 0)
    if FLOAT.fullmatch(text):
        return float(text)
    if infinite := _INFINITE.fullmatch(text):
        return -math.inf if infinite[1] == "-" else math.inf
    return math.nan if text in _NAN else text


def _syntax(error: yaml.MarkedYAMLError, text: str, mark: yaml.Mark | None) -> str:
    if mark and text[mark.index : mark.index + 1] == "\t":
        return "a tab; YAML indents with blanks"
    parts = [p for p in (error.context, error.problem) if p]
    return f"not YAML: {', '.join(parts)[:300]}"


def _nearby(path: Path) -> str | None:
    """Which config files there are beside a path that is not one."""
    found = sorted(p.name for p in path.parent.glob("*.y*ml"))[:8] if path.parent.is_dir() else []
    return f"in {path.parent} there are: {', '.join(found)}" if found else None
