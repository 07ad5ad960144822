"""Changing a YAML text in place: only what changes is cut out and pasted in, everything else stays, comments included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradscope.errors import ConfigError
from gradscope.strict.document import Document, Where, dotted
from gradscope.strict.writing import flow
from gradscope.strict.yaml12 import parse

WIDEST = 128
"""Columns up to which a mark stands behind what it marks; else it stands on a line of its own above."""


@dataclass(frozen=True)
class Edit:
    """Set the value at a place. The mark reads ``# was: <was>; <why>``; the sections on the way are made where they are not."""

    where: Where
    value: Any
    was: str
    why: str


class UnsplicableError(Exception):
    """The text cannot be changed in place, for example because a section is an alias of another."""


def spliced(document: Document, edits: Sequence[Edit], *, marked: bool = True) -> str:
    """The text of a document with the edits made, each marked by a comment.

    Raises ``UnsplicableError`` where the result would not read as the document's values with these set.
    """
    text, data = document.text, parse(document.text, document.file).data
    for edit in edits:
        text = _changed(parse(text, document.file), edit)
        data = _with(data, edit.where, edit.value)
    if _data(text, document.file) != data:
        raise UnsplicableError("what was pasted in reads as something else")
    return _marked(text, document.file, data, edits) if marked else text


def _changed(document: Document, edit: Edit) -> str:
    text, where = document.text, edit.where
    if where in document.places:
        start, end = document.places[where].value.start, _end(document, where)
        before = " " if text[start - 1 : start] == ":" else ""
        return text[:start] + before + flow(edit.value) + text[end:]
    depth = next(d for d in range(len(where) - 1, -1, -1) if where[:d] in document.places)
    value = edit.value
    for key in reversed(where[depth + 1 :]):
        value = {key: value}
    return _inserted(document, where[:depth], f"{where[depth]}: {flow(value)}")


def _inserted(document: Document, section: Where, pair: str) -> str:
    """The text with a new pair at the end of a section."""
    text, spot = document.text, document.places[section].value
    inside = [w for w in document.places if w[:-1] == section and w != section]
    if text[spot.start : spot.start + 1] == "{":
        at = _end(document, inside[-1]) if inside else spot.start + 1
        return text[:at] + (f", {pair}" if inside else pair) + text[at:]
    if not inside:
        raise UnsplicableError(f"{dotted(section)} is no section")
    key = document.places[inside[0]].key
    indent = " " * ((key.column if key else 1) - 1)
    newline = "\r\n" if "\r\n" in text else "\n"
    at = _end(document, inside[-1])
    if text[at - 1 : at] != "\n":
        stop = text.find("\n", at)
        if stop < 0:
            return f"{text}{newline}{indent}{pair}{newline}"
        at = stop + 1
    return f"{text[:at]}{indent}{pair}{newline}{text[at:]}"


def _end(document: Document, where: Where) -> int:
    """Where a value's text ends. The end that a block section states is that of the blanks and comments behind it."""
    spot = document.places[where].value
    inside = [w for w in document.places if len(w) == len(where) + 1 and w[:-1] == where]
    if not inside or document.text[spot.start : spot.start + 1] in ("{", "["):
        return spot.end
    return max(_end(document, w) for w in inside)


def _with(data: Any, where: Where, value: Any) -> Any:
    """The values with one set."""
    if not where:
        return value
    section = dict(data) if isinstance(data, Mapping) else {}
    section[str(where[0])] = _with(section.get(str(where[0])), where[1:], value)
    return section


def _marked(text: str, file: str, data: Any, edits: Sequence[Edit]) -> str:
    """The text with a comment at each line that holds an edit."""
    document = parse(text, file)
    by_line: dict[int, list[Edit]] = defaultdict(list)
    for edit in edits:
        by_line[document.spot(edit.where, key=True).line].append(edit)
    lines = text.splitlines(keepends=True)
    for number in sorted(by_line, reverse=True):
        line = lines[number - 1]
        body, end = line.rstrip("\r\n"), line[len(line.rstrip("\r\n")) :]
        crowded = sum(place.key is not None and place.key.line == number for place in document.places.values()) > 1
        mark = _mark(by_line[number], named=crowded)
        behind = [*lines[: number - 1], f"{body}  {mark}{end}", *lines[number:]]
        indent = body[: len(body) - len(body.lstrip())]
        above = [*lines[: number - 1], f"{indent}{mark}{end or chr(10)}", line, *lines[number:]]
        ways = [above] if len(body) + 2 + len(mark) > WIDEST else [behind, above]
        lines = next((way for way in ways if _data("".join(way), file) == data), lines)
    return "".join(lines)


def _mark(edits: Sequence[Edit], *, named: bool) -> str:
    """``# was: relu; GS101 vanishing-gradients``, with the keys' names where the line holds several."""
    were = [f"{dotted(e.where)}: {e.was}" if named else e.was for e in edits]
    return f"# was: {', '.join(were)}; {', '.join(dict.fromkeys(e.why for e in edits))}"


def _data(text: str, file: str) -> Any:
    try:
        return parse(text, file).data
    except ConfigError:
        return None
