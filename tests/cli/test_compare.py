from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import gradscope


def test_two_runs_are_compared_and_drawn(here: Path, recorded: Path) -> None:
    result = gradscope("compare", recorded / "vanishing", recorded / "healthy", "-o", "both.png")
    assert result.exit_code == 0, result.output
    assert "gone    error GS101 vanishing-gradients" in result.stdout
    assert "model.activation" in result.stdout
    assert result.stderr.splitlines()[0] == "figure: both.png"
    assert (here / "both.png").read_bytes()[:4] == b"\x89PNG"


def test_json_is_all_of_stdout(recorded: Path) -> None:
    result = gradscope("compare", "vanishing", "healthy", "--runs-dir", recorded, "--format", "json")
    found = json.loads(result.stdout)
    assert [run["verdict"] for run in found["runs"]] == ["pathological", "healthy"]
    assert {d["path"]: d["values"] for d in found["differences"]}["model.activation"] == ["sigmoid", "tanh"]
    assert (
        found["runs"][0]["findings"]
        == json.loads(gradscope("check", recorded / "vanishing", "--format", "json").stdout)["findings"]
    )
    assert not result.stderr


@pytest.mark.parametrize(
    ("first", "second", "words", "code"),
    [
        ("vanishing", "healthy", ("--fail-on", "warning"), 0),
        ("healthy", "vanishing", (), 0),
        ("healthy", "vanishing", ("--fail-on", "error"), 1),
        ("vanishing", "vanishing", ("--fail-on", "warning"), 0),
    ],
)
def test_what_is_new_or_worse_fails_where_it_is_asked_to(
    recorded: Path, first: str, second: str, words: tuple[str, ...], code: int
) -> None:
    assert gradscope("compare", recorded / first, recorded / second, *words).exit_code == code


def test_one_run_cannot_be_compared(recorded: Path) -> None:
    result = gradscope("compare", recorded / "healthy")
    assert result.exit_code == 2
    assert "has nothing to be compared with" in result.stderr
    assert gradscope("compare", recorded / "healthy", "nothing-there").exit_code == 2
