"""The table of a sweep: one row a point, as Parquet on file and as plain rows in memory. No torch here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gradscope.errors import RunFolderError
from gradscope.record.files import write_whole
from gradscope.signals.scalars import scalars
from gradscope.sweep.axes import Axis, Cell, is_number
from gradscope.sweep.layout import POINTS, RESULTS
from gradscope.sweep.outcome import Outcome
from gradscope.sweep.plan import Plan
from gradscope.sweep.progress import Result

SCHEMA_VERSION = 1
"""Version of the table and of the JSON. History: 1 (2026-11) the first."""
VERDICT, CODES, END, REASON, SECONDS, RUN = "verdict", "codes", "end", "reason", "seconds", "run"
OWN = (VERDICT, CODES, END, REASON, SECONDS, RUN)
NETWORK = ("parameters", "sigma_w", "input_length", "inputs", "outputs")
_META = b"gradscope"


@dataclass(frozen=True)
class Column:
    """An axis as a column: its key in the config, its name in the table, and whether its values are spaced by ratio."""

    key: str
    name: str
    log: bool
    numeric: bool


@dataclass(frozen=True)
class Row:
    """One point: where it lies, by the axes' keys, its config, and what became of it."""

    at: Mapping[str, Cell]
    outcome: Outcome
    run: str | None
    config: Mapping[str, Any] | None


@dataclass(frozen=True)
class Table:
    """A whole sweep; ``measure`` are the numbers that it is shown with."""

    name: str
    axes: tuple[Column, ...]
    measure: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def own_axes(self) -> tuple[Column, ...]:
        """The axes but the seed, over which numbers are averaged."""
        return tuple(axis for axis in self.axes if axis.key != "seed")


def table_of(plan: Plan, results: Iterable[Result]) -> Table:
    """The results in the order of the plan; points that it does not have, as a search's, stand where they lie on the axes."""
    axes = tuple(column(axis) for axis in plan.axes)
    order = {axis.key: {cell: float(i) for i, cell in enumerate(axis.cells)} for axis in plan.axes}
    rows = [
        Row(
            r.point.at,
            r.outcome,
            f"{POINTS}/{r.point.key}" if r.outcome.trained else None,
            r.point.config.model_dump(mode="json") if r.point.config else None,
        )
        for r in results
    ]
    rows.sort(key=lambda row: [_place(row.at[axis.key], order[axis.key], axis) for axis in axes])
    return Table(plan.name, axes, plan.sweep.measure, tuple(rows))


def column(axis: Axis) -> Column:
    """The column of an axis; one that is called as something measured is told apart by its name."""
    taken = {*OWN, *NETWORK, *scalars()}
    return Column(axis.key, f"axis.{axis.key}" if axis.key in taken else axis.key, axis.log, axis.numeric)


def _place(cell: Cell, order: Mapping[Cell, float], axis: Column) -> float:
    return float(cell) if axis.numeric and is_number(cell) else order.get(cell, math.inf)  # type: ignore[arg-type]


def write_table(table: Table, folder: Path) -> Path:
    """``results.parquet`` in a sweep's folder, whole. Texts of ``codes`` are codes with blanks between them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    outcomes = [row.outcome for row in table.rows]
    columns: dict[str, Any] = {axis.name: _array([row.at[axis.key] for row in table.rows]) for axis in table.axes}
    columns[VERDICT] = pa.array([o.verdict for o in outcomes], pa.string())
    columns[CODES] = pa.array([" ".join(o.codes) for o in outcomes], pa.string())
    for name in (*table.measure, *(n for n in scalars() if n not in table.measure)):
        columns[name] = pa.array([o.numbers.get(name) for o in outcomes], pa.float64())
    for name in NETWORK:
        columns[name] = pa.array([o.network.get(name) for o in outcomes], pa.float64())
    columns[END] = pa.array([o.end.value for o in outcomes], pa.string())
    columns[REASON] = pa.array([o.reason for o in outcomes], pa.string())
    columns[SECONDS] = pa.array([o.seconds for o in outcomes], pa.float64())
    columns[RUN] = pa.array([row.run for row in table.rows], pa.string())
    meta = {
        "schema_version": SCHEMA_VERSION,
        "name": table.name,
        "axes": [asdict(axis) for axis in table.axes],
        "measure": list(table.measure),
        "configs": [row.config for row in table.rows],
    }
    made = pa.table(columns).replace_schema_metadata({_META: json.dumps(meta).encode()})
    path = folder / RESULTS
    try:
        write_whole(path, lambda draft: pq.write_table(made, draft))
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def read_table(folder: Path) -> Table:
    """The table of a sweep's folder. Raises ``RunFolderError`` where there is none, or it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / RESULTS
    try:
        read = pq.read_table(path)
        meta = json.loads((read.schema.metadata or {})[_META])
        axes = tuple(Column(**axis) for axis in meta["axes"])
        rows = tuple(_row(row, axes, config) for row, config in zip(read.to_pylist(), meta["configs"], strict=True))
        return Table(meta["name"], axes, tuple(meta["measure"]), rows)
    except FileNotFoundError:
        raise RunFolderError(f"{folder}: the sweep has no {RESULTS} yet", hint="gradscope sweep writes it at its end") from None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: the file is damaged: {error}") from error


def to_dict(table: Table) -> dict[str, Any]:
    """The JSON of ``gradscope sweep --format json``: a number that is not finite is null, and named in ``states``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": table.name,
        "axes": [axis.key for axis in table.axes],
        "points": [_point(row, table.measure) for row in table.rows],
    }


def _point(row: Row, measure: Sequence[str]) -> dict[str, Any]:
    outcome = row.outcome
    numbers = {name: outcome.numbers.get(name) for name in measure}
    odd = {n: "nan" if math.isnan(v) else "inf" for n, v in numbers.items() if v is not None and not math.isfinite(v)}
    return {
        "at": dict(row.at),
        "end": outcome.end.value,
        "reason": outcome.reason,
        "verdict": outcome.verdict,
        "codes": list(outcome.codes),
        "numbers": {name: None if name in odd else value for name, value in numbers.items()},
        "states": odd,
        "seconds": outcome.seconds,
        "run": row.run,
    }


def _row(values: Mapping[str, Any], axes: Sequence[Column], config: Mapping[str, Any] | None) -> Row:
    outcome = Outcome.from_dict(
        {
            "end": values[END],
            "reason": values[REASON],
            "verdict": values[VERDICT],
            "codes": values[CODES].split(),
            "numbers": {name: values[name] for name in scalars() if name in values},
            "network": {name: values[name] for name in NETWORK if values[name] is not None},
            "seconds": values[SECONDS],
        }
    )
    return Row({axis.key: values[axis.name] for axis in axes}, outcome, values[RUN], config)


def _array(cells: Sequence[Cell]) -> Any:
    """A column of an axis: numbers where all are, texts where they are of several kinds."""
    import pyarrow as pa

    known = [cell for cell in cells if cell is not None]
    if all(isinstance(cell, bool) for cell in known):
        return pa.array(cells, pa.bool_())
    if all(is_number(cell) for cell in known):
        return pa.array(cells, pa.int64() if all(isinstance(cell, int) for cell in known) else pa.float64())
    return pa.array([cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells], pa.string())
