from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from gradscope.cli import terminal
from gradscope.cli.app import BUG, main
from gradscope.errors import ConfigError, RecordingWarning, UsageError, warn


def test_an_error_is_a_message_and_a_hint_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.complain(UsageError("no [bold]such[/bold] thing", hint="look there"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: no [bold]such[/bold] thing\nhint: look there\n"


def test_a_long_message_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.complain(ConfigError(["f.yaml:1:1: " + "x" * 300]))
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("shown", "columns", "lines"),
    [
        (True, 12, ["GS1  one two", "     three"]),
        (True, 11, ["GS1", "  one two", "  three"]),
        (False, 12, ["GS1  one two three"]),
    ],
)
def test_a_row_of_a_list_is_wrapped_for_a_terminal_and_stays_whole_for_a_pipe(
    monkeypatch: pytest.MonkeyPatch, shown: bool, columns: int, lines: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: shown)
    monkeypatch.setattr(terminal, "NARROWEST", 7)
    assert terminal.hanging("GS1  ", "one two three").split("\n") == lines


def test_a_namesake_that_is_installed_is_told_about(tmp_path: Path) -> None:
    """Another distribution holds the name on the package index and installs a command of the same name."""
    namesake = tmp_path / "gradscope-9.9.dist-info"
    namesake.mkdir()
    (namesake / "METADATA").write_text("Metadata-Version: 2.1\nName: gradscope\nVersion: 9.9\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-m", "gradscope", "schema"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "warning: another package, 'gradscope' 9.9, is installed beside gradscope-torch; both install the command gradscope",
        "hint: pip uninstall gradscope, then pip install --force-reinstall --no-deps gradscope-torch",
    ]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stderr == ""


def test_an_error_that_nobody_foresaw_does_not_look_like_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gradscope", "schema"])
    monkeypatch.setattr("gradscope.cli.schema.deliver", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == BUG
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    assert error.splitlines()[-1].startswith("warning: this is a bug in gradscope")


@pytest.mark.filterwarnings("default")
def test_a_warning_of_ours_is_a_line_and_others_are_shown_as_they_were(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warned(*_: object) -> None:
        warn("layers: the model is compiled", RecordingWarning)
        warnings.warn("theirs", UserWarning, stacklevel=1)

    others: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: others.append(str(message)))
    monkeypatch.setattr(sys, "argv", ["gradscope", "schema"])
    monkeypatch.setattr("gradscope.cli.schema.deliver", warned)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "warning: layers: the model is compiled\n"
    assert others == ["theirs"]


def test_a_full_disk_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "runs/x/config.yaml")

    monkeypatch.setattr(sys, "argv", ["gradscope", "schema"])
    monkeypatch.setattr("gradscope.cli.schema.deliver", full)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: runs/x/config.yaml: No space left on device\n"


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["gradscope", "schema"])
    monkeypatch.setattr("gradscope.cli.schema.deliver", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "warning: interrupted\n"
