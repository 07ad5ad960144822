"""A sweep's table as text: one line a place, over all its seeds; and where an edge lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from gradscope.render.formats.text import VERDICT
from gradscope.render.terminal import PLAIN, Terminal, typeset
from gradscope.render.words import count, number, plain
from gradscope.sweep.axes import Cell
from gradscope.sweep.find import Bracket
from gradscope.sweep.grouping import Group, Spread, groups
from gradscope.sweep.table import Table

APART = 100.0
"""Largest over smallest value from which on a mean says nothing: it is that of the largest alone."""


def write(table: Table, *, terminal: Terminal = PLAIN) -> str:
    """The whole table, a line for each place. A line is as long as it has to be: a table that is folded cannot be read."""
    found = groups(table)
    head = [axis.key for axis in table.own_axes] + ["verdict", *table.measure]
    lines = _columns([head, *(list(_line(group, table)) for group in found)])
    page = Text("\n").join(
        [
            Text(_summary(table, max((len(group.rows) for group in found), default=0)), style="bold"),
            Text(),
            Text(lines[0], style="dim"),
            *(Text(line, style=_style(group)) for line, group in zip(lines[1:], found, strict=True)),
        ]
    )
    return typeset(page, terminal, fold=False)


def write_brackets(key: str, until: str, brackets: Sequence[Bracket]) -> str:
    """Where the edge lies, a line for each place on the other axes."""
    return "\n".join(f"{until}: {where + ': ' if (where := place(b.at)) else ''}{b.words(key)}" for b in brackets)


def place(at: Mapping[str, Cell]) -> str:
    """``model.depth=4 seed=0``."""
    return " ".join(f"{key}={shown(cell)}" for key, cell in at.items())


def shown(cell: Cell) -> str:
    """A cell as the file would have it."""
    if cell is None or isinstance(cell, bool):
        return {None: "null", True: "true", False: "false"}[cell]
    return plain(f"{cell:g}" if isinstance(cell, float) else str(cell), 40)


def verdict_in_words(group: Group) -> str:
    """``✗ pathological GS101``; where seeds differ how many of them: ``✗ pathological 18/20 GS101``."""
    (most, times), *others = group.verdicts.most_common()
    some = f" {times}/{len(group.rows)}" if others else ""
    codes = [code for code, _ in sorted(group.codes.items(), key=lambda item: (-item[1], item[0]))]
    return " ".join([VERDICT[most][0] if most in VERDICT else "-", most + some, *codes])


def _summary(table: Table, seeds: int) -> str:
    counts = Counter(row.outcome.verdict or row.outcome.end.value for row in table.rows)
    told = ", ".join(f"{n:,} {what}" for what, n in counts.most_common())
    over = f", {count(seeds, 'seed')} each" if seeds > 1 else ""
    return f"{plain(table.name, 60)}: {count(len(table.rows), 'point')}{over}: {told}"


def _line(group: Group, table: Table) -> Iterator[str]:
    yield from (shown(group.at[axis.key]) for axis in table.own_axes)
    yield verdict_in_words(group)
    yield from (_number(group.spread(name)) for name in table.measure)
    reason = next((row.outcome.reason for row in group.rows if row.outcome.reason), None)
    if reason:
        yield plain(reason, 120)


def _number(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    if spread.deviation is None:
        return number(spread.mean)
    if spread.high > APART * spread.low > 0.0:
        return f"{number(spread.middle)} ({number(spread.low, 2)} to {number(spread.high, 2)})"
    return f"{number(spread.mean)} ± {number(spread.deviation, 2)}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _style(group: Group) -> str:
    verdict = group.verdicts.most_common(1)[0][0]
    return VERDICT[verdict][1].removeprefix("bold ") if verdict in VERDICT else ""
