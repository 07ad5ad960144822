"""Axes: from what stands in the file to the values that a point takes, each of which remembers where it stood."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, get_args

from gradscope.errors import did_you_mean
from gradscope.strict.document import Document, Place, Problem, Spot, Where, shown
from gradscope.strict.problems import checked
from gradscope.strict.section import Section
from gradscope.strict.writing import dump
from gradscope.sweep.spec import FORMS, MOST_VALUES, Cases, Log, Range
from gradscope.training.config import Config

Cell = str | int | float | bool | None
"""What stands for a value in a table."""
SEED = "seed"
DIGITS = 6
"""Significant digits of a value of a logarithmic axis: 0.000316228, the same on every machine."""


@dataclass(frozen=True)
class Setting:
    """A key of the config and its value, where both stand in the sweep's file."""

    key: str
    spot: Spot
    value: Document


@dataclass(frozen=True)
class Value:
    """One value of an axis: what stands for it in the table, and what it sets."""

    cell: Cell
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Axis:
    """``log`` says that its values are spaced by ratio; ``spot`` is where it stands."""

    key: str
    values: tuple[Value, ...]
    spot: Spot
    log: bool = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(value.cell for value in self.values)

    @property
    def numeric(self) -> bool:
        return all(is_number(cell) for cell in self.cells)

    def value(self, cell: Cell) -> Value:
        """The value of this cell, which the axis need not have: a number of a numeric axis that lies in between."""
        known = next((v for v in self.values if v.cell == cell), None)
        return known or setting(self.key, self.spot, Document(self.spot.file, "", cell, {(): Place(self.spot)}))


def is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def read_axes(document: Document) -> tuple[list[Axis], list[Problem]]:
    """The axes of a sweep's file, as the file has them, and what is wrong with them."""
    axes: list[Axis] = []
    problems: list[Problem] = []
    found = document.data.get("axes")
    for key in found if isinstance(found, dict) else ():
        try:
            axes.append(_axis(key, document, found[key]))
        except _WrongAxisError as error:
            problems += error.problems
    return axes, problems


def seed_axis(count: int, spot: Spot) -> Axis:
    """The axis that ``seeds: 20`` stands for."""
    documents = (Document(spot.file, "", seed, {(): Place(spot)}) for seed in range(count))
    return Axis(SEED, tuple(setting(SEED, spot, document) for document in documents), spot)


def setting(key: str, spot: Spot, document: Document) -> Value:
    """A value of an axis that sets its own key."""
    data = document.data
    cell = data if data is None or isinstance(data, str | int | float | bool) else dump(data).strip().replace("\n", ", ")
    return Value(cell, (Setting(key, spot, document),))


def with_whole_numbers(axis: Axis, config: Config) -> Axis:
    """The same axis with whole numbers where its key takes nothing else: {log: [2, 64], points: 6} of a width."""
    if not any(isinstance(cell, float) for cell in axis.cells) or not takes_whole_numbers(config, axis.key):
        return axis
    kept: dict[int, Value] = {}
    for value in axis.values:
        (one,) = value.settings
        whole = round(float(one.value.data))
        kept.setdefault(whole, Value(whole, (replace(one, value=replace(one.value, data=whole)),)))
    return replace(axis, values=tuple(kept.values()))


def takes_whole_numbers(config: Section, key: str) -> bool:
    """Whether a key, a path such as ``model.depth``, takes whole numbers and no others."""
    *outer, last = key.split(".")
    section: Any = config
    for name in outer:
        section = getattr(section, name, None)
    field = type(section).model_fields.get(last) if isinstance(section, Section) else None
    kinds = set(_flat(field.annotation)) if field is not None else set()
    return int in kinds and float not in kinds


def _flat(annotation: Any) -> Iterator[Any]:
    """The types that an annotation names, those within unions and ``Annotated`` too."""
    inner = get_args(annotation)
    yield annotation
    for one in inner:
        yield from _flat(one)


class _WrongAxisError(Exception):
    def __init__(self, problems: list[Problem]) -> None:
        super().__init__()
        self.problems = problems


def _axis(key: str, document: Document, data: Any) -> Axis:
    where = ("axes", key)
    spot = document.spot(where, key=True)
    if isinstance(data, list):
        if not data:
            raise _WrongAxisError([Problem(document.spot(where), where, "no value in it")])
        return Axis(key, tuple(setting(key, spot, document.at((*where, i))) for i in range(len(data))), spot)
    form = next((f for name, f in FORMS.items() if name in data), None) if isinstance(data, dict) else None
    if form is None:
        near = next((m for k in data if (m := did_you_mean(k, FORMS))), "") if isinstance(data, dict) else ""
        what = f"wrong type (got {shown(data)}; expected a list, {{range: ...}}, {{log: ...}} or {{cases: ...}}{near})"
        raise _WrongAxisError([Problem(document.spot(where), where, what)])
    section, problems = checked(form, document.at(where))
    if section is None:
        raise _WrongAxisError([replace(p, where=where + (p.where or ())) for p in problems])
    if isinstance(section, Cases):
        return Axis(key, tuple(_case(name, key, document) for name in section.cases), spot)
    values = _range(section) if isinstance(section, Range) else _logarithmic(section)  # type: ignore[arg-type]
    place: dict[Where, Place] = {(): Place(document.spot(where))}
    made = tuple(setting(key, spot, Document(document.file, "", value, place)) for value in values)
    return Axis(key, made, spot, log=isinstance(section, Log))


def _case(name: str, key: str, document: Document) -> Value:
    where = ("axes", key, "cases", name)
    return Value(name, tuple(settings(document, where)))


def settings(document: Document, where: tuple[str, ...]) -> Iterator[Setting]:
    """The keys and values of a mapping of config keys that stands at a place."""
    inside = document.at(where)
    for key in inside.data:
        yield Setting(key, inside.spot((key,), key=True), inside.at((key,)))


def _range(section: Range) -> list[int | float]:
    first, last = section.range
    if section.points is not None:
        distance = (last - first) / (section.points - 1)
        return [first, *(_tidy(first + i * distance) for i in range(1, section.points - 1)), last]
    # In decimals, so that 0.1 and its multiples are what a person means by them.
    start, step = Decimal(str(first)), Decimal(str(1 if section.step is None else section.step))
    count = int((Decimal(str(last)) - start) / step) + 1
    whole = isinstance(first, int) and (section.step is None or isinstance(section.step, int))
    values = [start + i * step for i in range(min(count, MOST_VALUES))]
    return [int(v) if whole else float(v) for v in values]


def _logarithmic(section: Log) -> list[int | float]:
    first, last = section.log
    distance = (math.log(last) - math.log(first)) / (section.points - 1)
    return [first, *(_tidy(first * math.exp(i * distance)) for i in range(1, section.points - 1)), last]


def _tidy(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
