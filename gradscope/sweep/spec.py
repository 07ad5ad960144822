"""What stands in a sweep's file: every key with its type, its default and what it means. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gradscope.errors import did_you_mean
from gradscope.strict.section import Section, describe
from gradscope.training.config import Config, Name
from gradscope.training.options import Count

MOST_VALUES = 10_000
"""Values of one axis: a slip in a step should be told before it fills the memory."""
Number = int | float
Ends = Annotated[tuple[Number, Number], Field(strict=False)]
Values = Annotated[int, Field(ge=2, le=MOST_VALUES)]


class Range(Section):
    """Evenly spaced values, both ends included: {range: [2, 30], step: 4}, or {range: [0, 1], points: 5}."""

    range: Ends
    """First and last value."""
    step: Number | None = None
    """Distance of two values; left out, 1, or what points gives."""
    points: Values | None = None
    """How many values, in place of a step."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        first, last = self.range
        step = 1 if self.step is None else self.step
        if self.step is not None and self.points is not None:
            yield "points", "step and points exclude each other; leave one of them out"
        elif last <= first:
            yield "range", f"the last value is not above the first (got {first} and {last})"
        elif step <= 0:
            yield "step", f"not above 0 (got {step})"
        elif self.points is None and (last - first) / step >= MOST_VALUES:
            yield "step", f"more than {MOST_VALUES:,} values from {first} to {last}"


class Log(Section):
    """Values of equal ratio, both ends included: {log: [1e-4, 1], points: 9}."""

    log: Ends
    """First and last value."""
    points: Values
    """How many values."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        first, last = self.log
        if first <= 0:
            yield "log.0", f"a logarithmic axis begins above 0 (got {first})"
        elif last <= first:
            yield "log", f"the last value is not above the first (got {first} and {last})"


class Cases(Section):
    """Named cases, each of which sets keys of its own: {cases: {plain: {model.residual: false}, ...}}."""

    cases: dict[str, dict[str, Any]]
    """Name of a case -> config keys and their values."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        if not self.cases:
            yield "cases", "no case in it"


FORMS: dict[str, type[Section]] = {"range": Range, "log": Log, "cases": Cases}
"""What an axis may be beside a list, by the key that tells."""


class _AxisSchema:
    """Any value for pydantic, which axes.py reads; for editors a list or one of the forms."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        forms = []
        for form in FORMS.values():
            made = handler(form.__pydantic_core_schema__)
            describe(made, form)
            forms.append(made)
        return {"anyOf": [{"type": "array", "minItems": 1, "description": "The values themselves."}, *forms]}


class _BaseSchema:
    """Any value for pydantic, which plan.py reads; for editors a path or a config."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        config = handler(Config.__pydantic_core_schema__)
        return {"anyOf": [{"type": "string", "description": "Path of a config, from this file's folder."}, config]}


class Sweep(Section):
    """Many trainings that differ in some keys: what ``gradscope sweep`` takes."""

    name: Name = "sweep"
    """Name of the sweep and of its folder; left out, it is the file's."""
    base: Annotated[Any, _BaseSchema()]
    """The config that all have in common: a path, from this file's folder, or the config itself."""
    set: dict[str, Any] = Field(default={})
    """Keys of the config that are other than in the base for all of them: {training.steps: 100}."""
    axes: dict[str, Annotated[Any, _AxisSchema()]] = Field(default={})
    """What differs: a key of the config, as model.depth, and its values."""
    mode: Literal["grid", "zip"] = "grid"
    """grid: every combination of the axes' values. zip: the first values of all axes, then the second ones, and so on."""
    seeds: Count | None = None
    """How many seeds, from 0, each point is trained with; the same as an axis seed, but crossed with zipped axes too."""
    measure: Annotated[tuple[str, ...], Field(strict=False)] = ("loss", "accuracy", "validation_accuracy", "backward_ratio")
    """Which numbers are shown; the table on file has all of them."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        from gradscope.signals.scalars import scalars

        if not self.axes and self.seeds is None:
            yield "axes", "nothing differs: neither axes nor seeds"
        if self.seeds is not None and "seed" in self.axes:
            yield "seeds", "seeds and an axis seed exclude each other"
        for i, name in enumerate(self.measure):
            if name not in scalars():
                yield f"measure.{i}", f"no number is called {name!r}{did_you_mean(name, scalars())}"
