"""What is seen while a sweep runs: redrawn on a terminal, a line a point elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from gradscope.render.terminal import Terminal
from gradscope.sweep.axes import Cell
from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.plan import Point
from gradscope.sweep.progress import Result
from gradscope.sweep.table import read_table
from gradscope.sweep.text import columns, write
from gradscope.sweep.view import SweepView

LONG = "schedule.warmup_steps: longer than the training (got 90; expected at most 60)"
OUTCOMES = (
    Outcome(End.FINISHED, None, "healthy", (), {"loss": 0.0123, "initial_backward_ratio": 0.5}, seconds=1.5),
    Outcome(End.FINISHED, None, "pathological", ("GS101", "GS203"), {"loss": 2.3, "initial_backward_ratio": 4e-9}, seconds=2.5),
    Outcome(End.REFUSED, LONG),
)


def results(points: int) -> Iterator[Result]:
    for i in range(points):
        at: Mapping[str, Cell] = {"model.depth": 4 * i, "model.activation": "sigmoid", "schedule.warmup_steps": 50, "seed": i}
        yield Result(Point(f"key{i}", at, None), OUTCOMES[i % 3], known=False)


def seen(width: int, points: int, total: int, *, known: bool = False) -> list[str]:
    """The lines of the picture after so many points, one every two seconds."""
    now = [0.0]
    terminal = Terminal(width=width, interactive=True)
    view = SweepView("mine", total, io.StringIO(), ("loss", "initial_backward_ratio"), terminal=terminal, clock=lambda: now[0])
    with view:
        for result in results(points):
            now[0] += 2.0
            view.update(Result(result.point, result.outcome, known))
        console = Console(width=width, file=io.StringIO(), highlight=False)
        with console.capture() as captured:
            console.print(view._picture())
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_table_has_a_column_for_each_axis_and_number_and_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = seen(width, 3, 30)
    assert max(map(len, lines)) <= width
    head, counts, columns, *rows = lines
    # one took 1.5 seconds, one 2.5, and the one that is 2 seconds under way takes longer than 1.5; 27 to come, with that one
    assert int(27 * (1.5 + 2.5 + 2.5) / 3 - 2.0) == 56
    assert re.search(r"point 3 of 30 +0:56 left", head)
    assert counts.startswith("1 healthy, 1 pathological, 1 refused"[: width - 1])
    shown = columns.split()
    assert len(shown) - ("…" in shown) == len(rows[0].split()) == (7 if width >= 80 else 5)
    assert ("…" in shown) == (width < 80)  # where there is no room for a number its column is left out, and never cut
    assert rows[1].split()[:4] == ["4", "sigmoid" if width >= 80 else "s…id", "50", "1"]
    starts = {line.index(word) for line, word in zip(rows, ("hea", "pat", "ref"), strict=True)}
    assert starts == {columns.index("ver")}


def test_with_room_everything_is_told_in_full() -> None:
    _, _, columns, one, two, three = seen(200, 3, 30)
    assert columns.split() == ["depth", "activation", "warmup_steps", "seed", "loss", "initial_backward_ratio", "verdict"]
    assert one.split() == ["0", "sigmoid", "50", "0", "0.0123", "0.5", "healthy"]
    assert two.split() == ["4", "sigmoid", "50", "1", "2.3", "4e-9", "pathological", "GS101", "GS203"]
    assert three.split(maxsplit=6) == ["8", "sigmoid", "50", "2", "-", "-", f"refused {LONG}"]


def test_where_room_is_short_long_names_give_way_before_numbers_and_verdicts() -> None:
    _, _, columns, _, two, _ = seen(80, 3, 30)
    assert "…" in columns
    assert "…" not in two.partition("GS101")[0]


def test_the_last_ten_points_stand_in_the_table_and_before_the_first_there_is_none() -> None:
    assert [line.split()[0] for line in seen(120, 25, 30)[3:]] == [str(4 * i) for i in range(15, 25)]
    (only,) = seen(120, 0, 30)
    assert re.search(r"mine .*point 0 of 30 +0:00", only)


def test_points_that_were_known_say_nothing_of_the_time_that_is_left() -> None:
    assert "left" not in seen(120, 3, 30, known=True)[0]


def test_axes_whose_keys_end_alike_are_called_by_all_of_it() -> None:
    at: Mapping[str, Cell] = {"model.init.gain": 1.0, "model.recurrence.gain": 2.0, "seed": 0}
    view = SweepView("mine", 2, io.StringIO(), (), terminal=Terminal(width=200, interactive=True))
    view.update(Result(Point("key", at, None), OUTCOMES[0], known=False))
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(view._picture())
    assert captured.get().splitlines()[2].split() == ["model.init.gain", "model.recurrence.gain", "seed", "verdict"]


def test_elsewhere_a_line_is_said_for_each_point_of_few_and_for_some_of_many() -> None:
    def said(total: int) -> list[str]:
        stream = io.StringIO()
        with SweepView("mine", total, stream, ("loss",)) as view:
            for result in results(total):
                view.update(result)
        return stream.getvalue().splitlines()

    few, many = said(3), said(1000)
    assert [line.partition(",")[0] for line in few] == [f"mine: point {i} of 3" for i in (1, 2, 3)]
    assert (
        "model.depth=4 model.activation=sigmoid schedule.warmup_steps=50 seed=1, pathological GS101 GS203, loss 2.3" in few[1]
    )
    assert few[2].endswith(f"seed=2, refused, {LONG}")
    assert len(many) == 100


@pytest.mark.parametrize("room", range(16, 60))
def test_no_number_is_cut_however_little_room_there_is(room: int) -> None:
    rows = [["model.depth", "verdict", "loss", "backward_ratio"], ["12", "healthy", "0.0123", "4.81e-15"], ["2", "healthy"]]
    head, first, last = columns(rows, room, numbers=2, keep=1)
    shown = 2 + (room >= 4 + 2 + 7 + 2 + 6 + 2 + 1) + (room >= 4 + 2 + 7 + 2 + 6 + 2 + 8)
    assert first.split() == ["12", "healthy", "0.0123", "4.81e-15"][:shown]
    assert last.split() == ["2", "healthy"]
    assert head.endswith("  …") == (shown < 4)
    assert max(len(line.rstrip()) for line in (head, first, last)) <= room


def test_the_table_at_the_end_gives_way_to_a_terminal_and_to_no_file(swept: Path) -> None:
    table = read_table(swept)
    whole = write(table).splitlines()[2:]
    assert whole[0].split() == ["model.depth", "model.activation", "schedule.warmup_steps", "verdict", *table.measure]
    assert max(map(len, whole)) > 130
    short = write(table, terminal=Terminal(width=80, interactive=True)).splitlines()[2:]
    assert len(short) == len(whole)
    assert max(map(len, short)) <= 80
    assert [line.split()[0] for line in short] == ["depth", "3", "3", "3", "3", "20", "20", "20", "20"]
    assert "pathological GS101" in short[-2]
    assert write(table, terminal=Terminal(width=250, interactive=True)) == write(table)
    summary = write(table, terminal=Terminal(width=30, interactive=True)).partition("\n\n")[0]
    assert max(map(len, summary.splitlines())) <= 30
    assert " ".join(summary.split()) == write(table).splitlines()[0]
