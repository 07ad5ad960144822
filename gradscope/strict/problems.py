"""From values to sections: pydantic checks, and each of its complaints becomes one line that says where and what."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gradscope.errors import ConfigError, did_you_mean
from gradscope.strict.document import Document, Problem, Where, shown
from gradscope.strict.section import Choice, Section
from gradscope.strict.yaml12 import scalar

S = TypeVar("S", bound=Section)

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "model_type": "a section of keys",
    "dict_type": "a section of keys",
    "tuple_type": "a list",
    "section_type": "a section, such as {example}",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-', a letter or digit first",
    "string_too_short": "at least {min_length} character",
    "string_too_long": "at most {max_length} characters",
    "too_long": "at most {max_length} members",
}
"""pydantic's error type -> what would have been right; ``{}`` is filled from the error's context."""

_SPOKEN_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

_OUT_OF_RANGE = {
    "greater_than": "too small",
    "greater_than_equal": "too small",
    "less_than": "too large",
    "less_than_equal": "too large",
    "finite_number": "not finite",
    "string_pattern_mismatch": "not allowed",
    "string_too_short": "too short",
    "string_too_long": "too long",
    "too_long": "too long",
}


def validated(model: type[S], document: Document) -> S:
    """The document as ``model``. Raises ``ConfigError`` with all that is wrong, in the order of the text."""
    section, problems = checked(model, document)
    if section is None:
        raise ConfigError([str(p) for p in problems])
    return section


def checked(model: type[S], document: Document) -> tuple[S | None, list[Problem]]:
    """The document as ``model``, or None and all that is wrong, in the order of the text."""
    problems = list(document.problems)
    try:
        section = model.model_validate(document.data)
        if not problems:
            return section, []
    except ValidationError as error:
        unread = {p.where for p in problems if p.where and p.spot == document.spot(p.where)}
        found = _problems(model, document, error.errors(include_url=False))
        problems += [p for p in found if p.where not in unread]
    return None, in_order(problems)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """As they stand in the text, those of overrides last."""
    return sorted(problems, key=lambda p: (p.spot.file == "--set", p.spot.file, p.spot.line, p.spot.column))


def _problems(model: type[Section], document: Document, errors: list[ErrorDetails]) -> list[Problem]:
    """There is an error for each member of a union; those at one place become one problem."""
    at: dict[Where, list[ErrorDetails]] = defaultdict(list)
    for error in errors:
        at[_where(document.data, error)].append(error)
    # A section given where a section or a word may stand: what is wrong inside tells more than "not a word".
    outer = {w for w in at if any(len(v) > len(w) and v[: len(w)] == w for v in at)}
    return [_problem(model, document, where, group) for where, group in at.items() if where not in outer]


def _problem(model: type[Section], document: Document, where: Where, group: list[ErrorDetails]) -> Problem:
    kinds = {e["type"] for e in group}
    if kinds == {"contradiction"}:
        return Problem(document.spot(where), where, "; ".join(str(e["ctx"]["what"]) for e in group), True)
    if kinds == {"missing"}:
        return Problem(document.spot(where, key=True), where, "missing")
    if kinds == {"extra_forbidden"}:
        keys = _keys(model, document.data, where[:-1])
        return Problem(
            document.spot(where, key=True), where, f"unknown key (expected {_listed(keys)}{did_you_mean(where[-1], keys)})"
        )
    got = group[0]["input"]
    ranged = [e for e in group if e["type"] in _OUT_OF_RANGE]
    choices = [] if ranged else [c for e in group for c in _choices(e)]
    expected = ([_listed(choices)] if choices else []) + [_expected(e) for e in ranged or group if not _choices(e)]
    what = _OUT_OF_RANGE[ranged[0]["type"]] if ranged else "unknown name" if choices and isinstance(got, str) else "wrong type"
    meant = _meant(got, kinds, choices)
    return Problem(document.spot(where), where, f"{what} (got {shown(got)}; expected {' or '.join(expected)}{meant})")


def _where(data: Any, error: ErrorDetails) -> Where:
    """The place in the document that an error is about: pydantic's path without the names of union members in it."""
    where: list[str | int] = []
    *inner, last = error["loc"] or ("",)
    for key in inner:
        if isinstance(data, dict | list) and _holds(data, key):
            where.append(key)
            data = data[key]  # type: ignore[index]
    if error["type"] == "contradiction":
        where += [int(k) if k.isdecimal() else k for k in str(last).split(".")]
    elif error["type"] in ("missing", "extra_forbidden", "unknown_name") or _holds(data, last):
        where.append(last)
    return tuple(where)


def _holds(data: Any, key: str | int) -> bool:
    if isinstance(data, dict):
        return key in data
    return isinstance(data, list) and isinstance(key, int) and key < len(data)


def _expected(error: ErrorDetails) -> str:
    known = _EXPECTED.get(error["type"])
    return known.format(**error.get("ctx", {})) if known else error["msg"]


def _choices(error: ErrorDetails) -> list[str]:
    """The names that would have been right, where the error is about a name."""
    if error["type"] == "unknown_name":
        return list(error["ctx"]["choices"])
    return re.findall("'([^']*)'", error["ctx"]["expected"]) if error["type"] == "literal_error" else []


def _meant(got: Any, kinds: set[str], choices: list[str]) -> str:
    """What a text was probably meant to be, or a number that should have been one."""
    if not isinstance(got, str):
        return f"; did you mean '{got}', in quotes?" if kinds == {"string_type"} and isinstance(got, int | float) else ""
    if "bool_type" in kinds and got.lower() in _SPOKEN_BOOLEANS:
        return f"; did you mean {_SPOKEN_BOOLEANS[got.lower()]}?"
    if kinds & {"bool_type", "int_type", "float_type"} and not isinstance(plain := scalar(got.strip().replace("_", "")), str):
        return f"; did you mean {shown(plain)}, without quotes?" if plain is not None else ""
    return did_you_mean(got, choices)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _keys(model: type[Section], data: Any, where: Where) -> list[str]:
    """The keys that the section at a place may have."""
    members: type[Section] | None = None
    for key in where:
        data = data[key]
        if members is not None:
            model, members = members, None
            continue
        members = member_type(model, str(key))
        inner = members or next(section_types(model, str(key), data), None)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def member_type(model: type[Section], key: str) -> type[Section] | None:
    """The section that stands under each name of a mapping at this key; None where there is no such mapping."""
    annotation = model.model_fields[key].annotation
    member = get_args(annotation)[-1] if get_origin(annotation) is dict else None
    return member if isinstance(member, type) and issubclass(member, Section) else None


def section_types(model: type[Section], key: str, data: Any) -> Iterator[type[Section]]:
    """The section models that may stand at a key, given what stands there."""
    field = model.model_fields[key]
    for choice in (m for m in field.metadata if isinstance(m, Choice)):
        yield choice.section(data)
        return
    for kind in (field.annotation, *(get_args(field.annotation) if get_origin(field.annotation) is not dict else ())):
        if isinstance(kind, type) and issubclass(kind, Section):
            yield kind
