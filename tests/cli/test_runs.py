"""The list of runs at terminals of any width."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gradscope.cli.runs import runs


def listed(folder: Path, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What ``gradscope runs`` prints at a terminal that wide."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    runs(runs_dir=folder, limit=0)
    return capsys.readouterr().out.splitlines()


def test_every_column_is_shown_where_there_is_room_and_the_start_goes_first(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide, medium = (listed(recorded, columns, monkeypatch, capsys) for columns in (200, 62))
    assert wide[0].split() == ["run", "status", "steps", "started", "(UTC)", "verdict"]
    assert medium[0].split() == ["run", "status", "steps", "verdict"]
    assert len(medium) == len(wide)
    assert any(line.endswith("  pathological GS101") for line in medium)


def test_a_narrow_terminal_gets_whole_words_below_the_name(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide, narrow = (listed(recorded, columns, monkeypatch, capsys) for columns in (200, 40))
    assert max(map(len, narrow)) <= 40
    assert narrow[:2] == ["run", "  status    steps  verdict"]
    at = narrow.index("vanishing")
    assert narrow[at + 1].split() == ["finished", "40", "pathological", "GS101"]
    assert {word for line in narrow for word in line.split()} <= {word for line in wide for word in line.split()}
