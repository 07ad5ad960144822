"""A sweep's table as text: one line a place, over all its seeds; and where an edge lies."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.text import Text

from gradscope.numbers import exact, number
from gradscope.render.formats.text import VERDICT
from gradscope.render.terminal import PLAIN, Terminal, typeset
from gradscope.render.words import count, plain
from gradscope.sweep.axes import Cell
from gradscope.sweep.find import Bracket
from gradscope.sweep.grouping import Group, Spread, groups
from gradscope.sweep.table import Table

APART = 100.0
"""Largest over smallest value from which on a mean says nothing: it is that of the largest alone."""


NARROWEST = 4
"""Columns that a cell keeps where room is short."""


def write(table: Table, *, terminal: Terminal = PLAIN) -> str:
    """The whole table, a line for each place. A line is as long as it has to be: a table that is folded cannot be read.

    Where somebody looks at a terminal that has no room for it, spreads are left out and columns give way.
    """
    found = groups(table)
    lines = _lines(found, table)
    if terminal.interactive and max(map(len, lines)) > (room := terminal.width):
        lines = [line if len(line) <= room else f"{line[: room - 1]}…" for line in _lines(found, table, room)]
    summary = _summary(table, max((len(group.rows) for group in found), default=0))
    summary = textwrap.fill(summary, terminal.width) if terminal.interactive else summary
    page = Text("\n").join(
        [
            Text(summary, style="bold"),
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
    return plain(exact(cell) if isinstance(cell, float) else str(cell), 40)


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


def _lines(found: Sequence[Group], table: Table, room: int | None = None) -> list[str]:
    keys = [axis.key for axis in table.own_axes]
    rows = [[*(keys if room is None else names(keys)), "verdict", *table.measure]]
    reasons = [""]
    for group in found:
        numbers = [group.spread(name) for name in table.measure]
        reason = next((plain(row.outcome.reason, 120) for row in group.rows if row.outcome.reason), "")
        told = [_number(spread, alone=room is not None) for spread in numbers if any(numbers) or not reason]
        rows.append([*(shown(group.at[key]) for key in keys), verdict_in_words(group), *told])
        reasons.append(reason)
    lines = columns(rows, room, numbers=len(keys) + 1, keep=len(keys))
    return [f"{line}  {reason}".rstrip() for line, reason in zip(lines, reasons, strict=True)]


def _number(spread: Spread | None, *, alone: bool) -> str:
    """A number with its spread over the seeds, or ``alone``."""
    if spread is None:
        return "-"
    far = spread.high > APART * spread.low > 0.0
    if spread.deviation is None or alone:
        return number(spread.middle if far else spread.mean)
    if far:
        return f"{number(spread.middle)} ({number(spread.low, 2)} to {number(spread.high, 2)})"
    return f"{number(spread.mean)} ± {number(spread.deviation, 2)}"


def names(keys: Sequence[str]) -> list[str]:
    """What each axis is called where room is short: the last part of its key, where that is no other's."""
    last = [key.rpartition(".")[2] for key in keys]
    return [part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)]


def columns(rows: Sequence[Sequence[str]], room: int | None = None, *, numbers: int, keep: int | None = None) -> list[str]:
    """Cells one below the other, two blanks apart. The first row has all columns, others may have fewer.

    In less ``room`` than they take the widest columns give way, but for the one that is to ``keep`` its width: the names in the
    first row, then what stands below them, of the columns from ``numbers`` on the names alone, since a number that is cut is
    another number. Where that is not enough the last of these are left out, and a sign at the end of the first row says so.
    """
    for shown in range(len(rows[0]), numbers - 1, -1):
        more = ["…", *[""] * len(rows)] if shown < len(rows[0]) else []
        part = [[*row[:shown], *more[i : i + 1]] for i, row in enumerate(rows)]
        widths, fits = _widths(part, room, numbers, keep)
        if fits:
            break
    return ["  ".join(f"{plain(cell, width):<{width}}" for cell, width in zip(row, widths, strict=False)) for row in part]


def _widths(rows: Sequence[Sequence[str]], room: int | None, numbers: int, keep: int | None) -> tuple[list[int], bool]:
    """How wide each column is, and whether there is room for them."""
    body = [[len(row[i]) for row in rows[1:] if i < len(row)] for i in range(len(rows[0]))]
    widths = [max(len(name), *cells) for name, cells in zip(rows[0], body, strict=True)]
    if room is None:
        return widths, True
    room -= 2 * (len(widths) - 1)
    named = [w if i == keep else max(NARROWEST if i < numbers else 1, *body[i]) for i, w in enumerate(widths)]
    cut = [NARROWEST if i < numbers and i != keep else w for i, w in enumerate(named)]
    for least in (named, cut):
        while sum(widths) > room and (give := [i for i, w in enumerate(widths) if w > least[i]]):
            widths[max(give, key=lambda i: widths[i])] -= 1
    return widths, sum(widths) <= room


def _style(group: Group) -> str:
    verdict = group.verdicts.most_common(1)[0][0]
    return VERDICT[verdict][1].removeprefix("bold ") if verdict in VERDICT else ""
