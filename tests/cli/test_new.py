from __future__ import annotations

from pathlib import Path

from gradscope.training.starter import starter
from tests.cli.conftest import gradscope


def test_a_first_experiment_is_two_commands(here: Path) -> None:
    made = gradscope("new", "--like", "smoke")
    assert (made.exit_code, made.stdout) == (0, "smoke.yaml\n")
    assert made.stderr.splitlines()[-1] == "next: gradscope run smoke.yaml"
    assert gradscope("run", "smoke.yaml", "training.steps=2", "-q").exit_code == 0


def test_the_file_may_be_named(here: Path) -> None:
    gradscope("new", "mine.yaml", "--like", "rnn")
    assert (here / "mine.yaml").read_text() == starter("rnn")[1]


def test_a_config_s_name_in_place_of_a_file_s_is_told(here: Path) -> None:
    result = gradscope("new", "smoke")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "hint: gradscope new --like smoke"
    assert not (here / "smoke").exists()


def test_a_file_that_exists_is_left_as_it_is(here: Path) -> None:
    before = (here / "small.yaml").read_text()
    result = gradscope("new", "small.yaml")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["error: small.yaml: exists already, and is left as it is", "hint: name another file"]
    assert (here / "small.yaml").read_text() == before


def test_what_there_is_can_be_listed(here: Path) -> None:
    names = [line.split()[0] for line in gradscope("new", "--list").stdout.splitlines()]
    assert {"plain-sigmoid-20", "rnn", "transformer"} <= set(names)
    assert not list(here.glob("plain*"))


def test_what_is_said_of_each_is_a_verdict_or_whole_sentences() -> None:
    for line in gradscope("new", "--list").stdout.splitlines():
        text = line.split(maxsplit=1)[1]
        assert text.endswith(".") or text == "healthy" or text.startswith("pathological: GS"), line


def test_a_folder_that_is_not_there_is_told(here: Path) -> None:
    assert gradscope("new", "no/where.yaml").stderr.startswith("error: no/where.yaml: cannot be written: No such file")
