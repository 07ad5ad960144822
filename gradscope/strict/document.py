"""A config's text as it was read: plain values, the place of each, and what is wrong with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from gradscope.numbers import exact

Key = str | int
Where = tuple[Key, ...]
"""Where a value stands: ``("model", "depth")``; numbers count the members of a list."""


@dataclass(frozen=True)
class Spot:
    """A stretch of a text: ``file:line:column`` (from 1) of its start, and its offsets in the text, to cut and paste."""

    file: str
    line: int
    column: int
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Place:
    """Where a value stands and, in a mapping, its key."""

    value: Spot
    key: Spot | None = None


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place; ``where`` is None for what concerns no value, such as bad syntax.

    A ``contradiction`` is between values each of which is good.
    """

    spot: Spot
    where: Where | None
    what: str
    contradiction: bool = False

    def __str__(self) -> str:
        return f"{self.spot}: {dotted(self.where)}: {self.what}" if self.where else f"{self.spot}: {self.what}"


@dataclass(frozen=True)
class Document:
    """One text, read: its values, the place of each, and what was wrong with them so far."""

    file: str
    text: str
    data: Any
    places: dict[Where, Place] = field(repr=False)
    problems: tuple[Problem, ...] = ()

    def spot(self, where: Where, *, key: bool = False) -> Spot:
        """Where a value (or its key) stands; for one that is not there, the nearest that holds it."""
        if where in self.places:
            place = self.places[where]
            return place.key or place.value if key else place.value
        return self.spot(where[:-1], key=True) if where else Spot(self.file, 1, 1)

    def at(self, where: Where) -> Document:
        """What stands at a place, as a document of its own whose places are those in this text."""
        data = self.data
        for key in where:
            data = data[key]
        inside = {w[len(where) :]: p for w, p in self.places.items() if w[: len(where)] == where}
        return replace(self, data=data, places=inside, problems=())

    def grafted(self, where: Where, part: Document, key: Spot) -> Document:
        """The same with ``part`` in the place of what stood at ``where``; ``key`` is where that was asked for."""
        data, places = dict(self.data), dict(self.places)
        section: Any = data
        for depth, name in enumerate(where[:-1], 1):
            if isinstance(section.get(name), list):
                return self.wrong(Problem(key, where[:depth], "a list is set whole, as in betas=[0.9, 0.99]"))
            if not isinstance(section.get(name), dict):
                places[where[:depth]] = Place(key, key)
            section[name] = section = dict(section[name]) if isinstance(section.get(name), dict) else {}
        section[where[-1]] = part.data
        places = {w: p for w, p in places.items() if w[: len(where)] != where}
        places[where] = Place(key, key)  # of nothing at all, ``name=``, there is no other
        places |= {where + w: replace(p, key=p.key if w else key) for w, p in part.places.items()}
        moved = tuple(replace(p, where=where + p.where) if p.where is not None else p for p in part.problems)
        kept = tuple(p for p in self.problems if p.where is None or p.where[: len(where)] != where)
        return replace(self, data=data, places=places, problems=kept + moved)

    def wrong(self, problem: Problem) -> Document:
        """The same with one problem more."""
        return replace(self, problems=(*self.problems, problem))


def dotted(where: Where) -> str:
    """``model.depth``, ``optimizer.betas[1]``."""
    return "".join(f"[{k}]" if isinstance(k, int) else f".{short(k)}" for k in where).removeprefix(".")


def shown(value: Any) -> str:
    """A value as a person would name it in a message, short."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        return f"'{short(value)}'"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return f".{value}".replace(".-", "-.")
        return exact(value) if "e" in str(value) else str(value)  # 2.0 is not what a whole number is
    return _number(str(value))


def _number(digits: str) -> str:
    return digits if len(digits) <= 40 else f"a number of {len(digits)} digits"


def short(text: str) -> str:
    """A text of a stranger for a message: on one line, and cut."""
    visible = text if text.isprintable() else repr(text)[1:-1]
    return visible if len(visible) <= 60 else visible[:57] + "..."
