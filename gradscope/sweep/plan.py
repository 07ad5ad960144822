"""From a sweep's file to its points: every combination as a resolved config, with a key of its own. No torch here."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradscope.errors import ConfigError, UsageError, did_you_mean
from gradscope.strict.document import Document, Problem, shown
from gradscope.strict.problems import checked, in_order
from gradscope.strict.yaml12 import read
from gradscope.sweep.axes import (
    SEED,
    Axis,
    Cell,
    Setting,
    Value,
    read_axes,
    seed_axis,
    settings,
    takes_whole_numbers,
    with_whole_numbers,
)
from gradscope.sweep.spec import Sweep
from gradscope.training.config import Config, name_of

MOST_POINTS = 100_000
"""Points of one sweep; beyond it a slip is likelier than an intention."""


@dataclass(frozen=True)
class Point:
    """One combination: where it lies on each axis, its config, and the key of its run folder.

    A point whose values contradict each other has no config, and ``refused`` says what does not fit.
    """

    key: str
    at: Mapping[str, Cell]
    config: Config | None = field(repr=False)
    refused: str | None = None


@dataclass(frozen=True)
class Plan:
    """A sweep, read: its axes and its points, in the order of the file, the last axis fastest."""

    sweep: Sweep
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    source: str = field(repr=False)
    base: Document = field(repr=False)

    @property
    def name(self) -> str:
        return self.sweep.name

    def axis(self, key: str) -> Axis:
        """Raises ``UsageError`` for one that the sweep does not have."""
        found = next((axis for axis in self.axes if axis.key == key), None)
        if found is None:
            keys = [axis.key for axis in self.axes]
            raise UsageError(f"the sweep has no axis {key!r}{did_you_mean(key, keys)}", hint=f"it has {', '.join(keys)}")
        return found

    def mixed(self) -> list[Point]:
        """The points in an order, the same each time, in which the first ones are much like all of them.

        Deep networks would come last otherwise, and what is known of the time and of the verdicts would be of shallow ones.
        """
        return random.Random(0).sample(self.points, len(self.points))

    def whole(self, key: str) -> bool:
        """Whether the key of an axis takes whole numbers alone."""
        return any(takes_whole_numbers(point.config, key) for point in self.points if point.config)

    def point(self, at: Mapping[str, Cell]) -> Point:
        """The point at these places, which may lie between the values of a numeric axis."""
        values = {axis.key: axis.value(at[axis.key]) for axis in self.axes}
        point, problems = _point(self.base, values)
        if point is None:
            raise ConfigError([str(p) for p in problems])
        return point


def load_sweep(path: Path | str) -> Plan:
    """The plan of a sweep's file. Raises ``ConfigError`` with all its problems, those of its base among them.

    A combination that only some of the points have, and whose values contradict each other, is no problem of the file: it is
    a point that is refused.
    """
    document = read(path)
    if "model" in document.data and not {"base", "axes"} & document.data.keys():
        hint = f"gradscope run {path} trains it; a sweep has a base, which may be its path, and axes"
        raise ConfigError([f"{path}: a config, not a sweep"], hint=hint)
    document.data.setdefault("name", name_of(Path(path).stem))
    sweep, problems = checked(Sweep, document)
    axes, more = read_axes(document)
    problems = in_order([*problems, *more])
    told: list[str] = [str(p) for p in problems]
    base: Document | None = None
    if "base" in document.data:
        try:
            base = _base(document, Path(path))
        except ConfigError as error:
            told += error.problems
    if sweep is None or base is None or told:
        raise ConfigError(told + ([str(p) for p in _of_base(base)] if base else []))
    if sweep.seeds is not None:
        axes.append(seed_axis(sweep.seeds, document.spot(("seeds",))))
    _fit(sweep, axes, document)
    axes = [with_whole_numbers(axis, first) if (first := _example(base, axes, axis)) else axis for axis in axes]
    points = _points(base, list(_combinations(sweep, axes)))
    return Plan(sweep, tuple(axes), tuple(points), document.text, base)


def key_of(config: Config) -> str:
    """The key of a config: a hash of all that decides its training, so not of its name."""
    text = json.dumps(config.model_dump(mode="json", exclude={"name"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _base(document: Document, path: Path) -> Document:
    """The document of the base with what is set for all points. Raises ``ConfigError`` where it cannot be read."""
    where = ("base",)
    given, spot = document.data["base"], document.spot(where)
    if isinstance(given, dict):
        base = document.at(where)
    elif isinstance(given, str):
        try:
            base = read(path.parent / given)
        except ConfigError as error:
            there = f"{path.parent / given}: no such file"
            if error.problems == (there,):
                raise ConfigError([f"{spot}: base: {there}"], hint=error.hint) from None
            raise
    else:
        raise ConfigError([f"{spot}: base: wrong type (got {shown(given)}; expected the path of a config, or a config)"])
    if isinstance(document.data.get("set"), dict):
        base = _set(base, settings(document, ("set",)))
    return base


def _set(base: Document, changes: Iterable[Setting]) -> Document:
    for change in changes:
        base = base.grafted(tuple(change.key.split(".")), change.value, change.spot)
    return base


def _of_base(base: Document) -> list[Problem]:
    """What is wrong with the base whatever the axes do: values, not keys that an axis may still set."""
    _, problems = checked(Config, base)
    return [p for p in problems if p.what != "missing" and not p.contradiction]


def _fit(sweep: Sweep, axes: Sequence[Axis], document: Document) -> None:
    """Raises ``ConfigError`` for axes of different length in a zip, and for more points than anybody means."""
    zipped = [axis for axis in axes if not (sweep.seeds is not None and axis.key == SEED)] if sweep.mode == "zip" else []
    lengths = {axis.key: len(axis.values) for axis in zipped}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {n}" for key, n in lengths.items())
        raise ConfigError(
            [str(Problem(document.spot(("axes",), key=True), ("axes",), f"zip needs as many values of each ({told})"))]
        )
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if not zipped and count > MOST_POINTS:
        what = f"{count:,} points (expected at most {MOST_POINTS:,})"
        raise ConfigError([str(Problem(document.spot(("axes",), key=True), ("axes",), what))])


def _combinations(sweep: Sweep, axes: Sequence[Axis]) -> Iterator[dict[str, Value]]:
    crossed = [axis for axis in axes if sweep.mode == "grid" or (sweep.seeds is not None and axis.key == SEED)]
    zipped = [axis for axis in axes if axis not in crossed]
    rows = list(zip(*(axis.values for axis in zipped), strict=True)) if zipped else [()]
    for row, *rest in itertools.product(rows, *(axis.values for axis in crossed)):
        yield dict(zip([axis.key for axis in (*zipped, *crossed)], [*row, *rest], strict=True))


def _example(base: Document, axes: Sequence[Axis], of: Axis) -> Config | None:
    """A config of the sweep, or the base's own: what tells which kind of number the key of an axis takes."""
    first = {axis.key: axis.values[0] for axis in axes if axis is not of}
    config, _ = checked(Config, _set(base, (change for value in first.values() for change in value.settings)))
    return config


def _points(base: Document, combinations: Sequence[Mapping[str, Value]]) -> list[Point]:
    points: list[Point] = []
    wrong: dict[str, Problem] = {}
    contradictions: dict[str, Problem] = {}
    for values in combinations:
        point, problems = _point(base, values)
        if point is None:
            wrong |= {str(p): p for p in problems if not p.contradiction}
        else:
            points.append(point)
            contradictions |= {str(p): p for p in problems}
    if wrong:
        raise ConfigError([str(p) for p in in_order(wrong.values())])
    if not any(point.config for point in points):
        raise ConfigError([str(p) for p in in_order(contradictions.values())])
    return points


def _point(base: Document, values: Mapping[str, Value]) -> tuple[Point | None, list[Problem]]:
    """A combination as a point, and what is wrong with it; None where a value is wrong by itself."""
    at = {key: value.cell for key, value in values.items()}
    document = _set(base, (change for value in values.values() for change in value.settings))
    document.data["name"] = _label(at)
    config, problems = checked(Config, document)
    if config is not None:
        return Point(key_of(config), at, config), []
    if any(not p.contradiction for p in problems):
        return None, problems
    why = "; ".join(f"{'.'.join(map(str, p.where or ()))}: {p.what}" for p in problems)
    return Point(_key_of_refused(document.data), at, None, why), problems


def _key_of_refused(data: Any) -> str:
    return hashlib.sha256(json.dumps({**data, "name": ""}, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _label(at: Mapping[str, Cell]) -> str:
    """``depth-20_seed-3``: where the point lies, as the name of a run."""
    return name_of("_".join(f"{key.rpartition('.')[2]}-{cell}" for key, cell in at.items()))
