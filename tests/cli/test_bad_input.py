# ruff: noqa: E501
"""Each bad input: one clear message on stderr, the right exit code, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import SMALL, gradscope

BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))  # fmt: skip


def told(folder: Path, *words: str | Path, code: int = 2) -> list[str]:
    """The lines on stderr, which are all that a command that was refused leaves behind."""
    before = sorted(folder.rglob("*"))
    result = gradscope(*words)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(folder.rglob("*")) == before
    return result.stderr.splitlines()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "error: bad.yaml:1:1: not a config (got an empty file; expected keys with values, such as 'seed: 0')"),
        ("model: {kind: mlp\n", "error: bad.yaml:2:1: not YAML: while parsing a flow mapping, expected ',' or '}'"),
        ("- model\n", "error: bad.yaml:1:1: not a config (got a list at the top"),
        (SMALL + "sed: 1\n", "error: bad.yaml:5:1: sed: unknown key (expected one of name, seed, "),
        (SMALL + "loss: cross-entropy\n", "error: bad.yaml:5:7: loss: unknown name (got 'cross-entropy'; "),
        (SMALL + "seed: one\n", "error: bad.yaml:5:7: seed: wrong type (got 'one'; expected a whole number)"),
        (SMALL.replace("depth: 3", "depth: 0"), "error: bad.yaml:1:27: model.depth: too small (got 0; expected at least 1)"),
        (SMALL.replace("batch_size: 16", "batch_size: 9999"), "error: bad.yaml:2:48: data.batch_size: larger than the training data"),
        (SMALL + "optimizer: {lr: .nan}\n", "error: bad.yaml:5:17: optimizer.lr: not finite (got .nan; expected a finite number)"),
        (SMALL + "training:\n\tsteps: 5\n", "error: bad.yaml:6:1: a tab; YAML indents with blanks"),
        (SMALL + "x: " + "y" * 10_000_000, "error: bad.yaml: too large for a config (expected at most 256 KiB)"),
        (BOMB, "error: bad.yaml:"),
        ("model: !!python/object/apply:os.system [touch bad]\n", "error: bad.yaml:1:8: model: tags are not allowed (got !!python/object/apply:os.system;"),
    ],
    ids=["empty", "not-yaml", "list", "unknown-key", "misspelt", "wrong-type", "depth-0", "large-batch", "lr-nan", "tab", "10-MB", "bomb", "tag"],
)  # fmt: skip
def test_a_bad_config_is_one_message(here: Path, text: str, message: str) -> None:
    (here / "bad.yaml").write_text(text)
    lines = told(here, "run", "bad.yaml")
    assert any(line.startswith((message.removeprefix("error: "), message)) for line in lines)


def test_several_problems_are_told_at_once(here: Path) -> None:
    (here / "bad.yaml").write_text(SMALL + "training: {clip_norm: 1, clip_value: 1}\nseed: -1\n")
    assert told(here, "run", "bad.yaml") == [
        "error: 2 problems",
        "bad.yaml:5:1: training: duplicate key (first at 3:1)",
        "bad.yaml:6:7: seed: too small (got -1; expected at least 0)",
    ]


def test_contradictory_keys_are_told(here: Path) -> None:
    assert told(here, "run", "small.yaml", "training.clip_norm=1", "--set", "training.clip_value=1") == [
        "error: --set:2:21: training.clip_value: clip_norm and clip_value exclude each other; leave one of them null"
    ]


def test_problems_without_end_are_cut(here: Path) -> None:
    (here / "bad.yaml").write_text("".join(f"k{i}: 1\n" for i in range(500)))
    lines = told(here, "run", "bad.yaml")
    assert len(lines) == 52
    assert lines[-1] == "... and 452 more"


def test_a_missing_config_names_its_neighbours(here: Path) -> None:
    assert told(here, "run", "smal.yaml") == ["error: smal.yaml: no such file", "hint: in . there are: small.yaml"]


def test_an_override_that_is_none_is_told(here: Path) -> None:
    (line,) = told(here, "run", "small.yaml", "depth")
    assert line == "error: --set:1:1: not an override (got 'depth'; expected KEY=VALUE, model.depth=50)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_folder_is_told(here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    assert told(here, "run", "small.yaml", "--out", "locked/run", "-q")[0].startswith("error: locked/run: ")


def test_a_file_in_place_of_the_output_folder_is_told(here: Path) -> None:
    assert told(here, "run", "small.yaml", "--out", "small.yaml/run", "-q")[0].startswith("error: small.yaml/run: ")


def test_an_output_folder_that_is_not_empty_is_left_alone(here: Path) -> None:
    (here / "full").mkdir()
    (here / "full" / "mine.txt").touch()
    assert told(here, "run", "small.yaml", "--out", "full") == [
        "error: full: the folder exists and is not empty",
        "hint: name a folder that does not exist yet, or is empty",
    ]


def test_a_device_that_is_not_there_is_told(here: Path) -> None:
    import torch

    missing = "mps" if torch.cuda.is_available() else "cuda"
    lines = told(here, "run", "small.yaml", "--device", missing, "-q", code=3)
    assert lines[0].startswith(f"error: device '{missing}' is not available: ")
    assert lines[1].startswith("hint: use device: auto")


def test_an_unknown_format_is_told_before_the_training(here: Path) -> None:
    assert told(here, "run", "small.yaml", "--format", "jsn")[0] == "error: no format is called 'jsn'; did you mean 'json'?"


@pytest.mark.parametrize("command", ["check", "plot"])
class TestRunFolders:
    def test_no_run_at_all(self, here: Path, command: str) -> None:
        assert told(here, command) == [
            "error: runs: no run in it",
            "hint: gradscope run CONFIG makes one; --runs-dir names another folder",
        ]

    def test_a_folder_that_is_not_there(self, here: Path, command: str) -> None:
        assert told(here, command, "deep/nowhere") == [
            "error: deep/nowhere: there is no such folder",
            "hint: gradscope runs lists them",
        ]

    def test_a_path_that_is_nearly_one(self, here: Path, command: str, recorded: Path) -> None:
        near = recorded / "helthy"
        assert told(here, command, near)[0] == f"error: {near}: there is no such folder; did you mean 'healthy'?"

    def test_a_name_that_is_nearly_one(self, here: Path, command: str, recorded: Path) -> None:
        (line, hint) = told(here, command, "helthy", "--runs-dir", recorded)
        assert line == f"error: helthy: there is no such folder, here or in {recorded}; did you mean 'healthy'?"
        assert hint == "hint: gradscope runs lists them"

    def test_a_sweep_has_runs(self, here: Path, command: str, recorded: Path) -> None:
        shutil.copytree(recorded / "healthy", here / "grid" / "points" / "a1")
        if command == "check":  # plot draws sweeps
            assert told(here, command, "grid") == [
                "error: grid: not a run folder: it has no manifest.json",
                "hint: it holds 1 run; name one, as in grid/points/a1",
            ]

    def test_a_folder_that_is_no_run(self, here: Path, command: str) -> None:
        (here / "other").mkdir()
        assert told(here, command, "other")[0] == "error: other: not a run folder: it has no manifest.json"

    def test_a_file(self, here: Path, command: str) -> None:
        assert told(here, command, "small.yaml")[0] == "error: small.yaml: not a run folder: it has no manifest.json"

    def test_a_newer_format(self, here: Path, command: str, recorded: Path) -> None:
        shutil.copytree(recorded / "healthy", here / "newer")
        manifest = json.loads((here / "newer" / "manifest.json").read_text())
        (here / "newer" / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
        lines = told(here, command, "newer")
        assert lines[0].startswith("error: newer: recorded in format 99; this version of Gradscope reads formats up to ")
        assert lines[1] == "hint: upgrade Gradscope to read it"

    def test_a_broken_manifest(self, here: Path, command: str, recorded: Path) -> None:
        shutil.copytree(recorded / "healthy", here / "broken")
        (here / "broken" / "manifest.json").write_text("{")
        assert told(here, command, "broken")[0].startswith("error: broken/manifest.json: cannot be read: ")


def test_plotting_a_run_without_a_step_is_told(here: Path, recorded: Path) -> None:
    shutil.copytree(recorded / "healthy", here / "empty")
    for table in ("steps", "parameters", "layers"):
        shutil.rmtree(here / "empty" / table)
    assert told(here, "plot", "empty")[0].startswith("error: the run 'healthy' has no step: nothing to plot")
    assert "next: gradscope plot" not in gradscope("check", "empty").stderr


def test_plotting_an_unknown_figure_is_told(here: Path, recorded: Path) -> None:
    lines = told(here, "plot", recorded / "healthy", "--figure", "profil")
    assert lines[0] == "error: no figure is called 'profil'; did you mean 'profile'?"


def test_plotting_into_an_unknown_kind_of_file_is_told(here: Path, recorded: Path) -> None:
    assert "ends in .png, .svg or .pdf" in told(here, "plot", recorded / "healthy", "-o", "x.gif")[0]


def test_writing_a_verdict_where_nothing_can_be_written_is_told(here: Path, recorded: Path) -> None:
    (line, *_) = told(here, "check", recorded / "healthy", "-o", "small.yaml/verdict.txt")
    assert line.startswith("error: ")
    assert "small.yaml/verdict.txt: cannot be written: " in line


def test_several_figures_in_one_file_are_told(here: Path, recorded: Path) -> None:
    words = ("plot", recorded / "healthy", "-f", "loss", "-f", "profile")
    for option, file in (("-o", "all.png"), ("--data", "all.csv")):
        assert told(here, *words, option, file) == [
            f"error: {file}: a file, and several figures are drawn",
            "hint: name a folder, all",
        ]


@pytest.mark.parametrize("command", ["run", "probe", "fix"])
def test_a_sweep_in_the_place_of_a_config_is_told(here: Path, command: str) -> None:
    (here / "grid.yaml").write_text("base: small.yaml\naxes: {model.depth: [2, 3]}\n")
    assert told(here, command, "grid.yaml") == ["error: grid.yaml: a sweep, not a config", "hint: gradscope sweep grid.yaml"]


def test_a_config_in_the_place_of_a_sweep_is_told(here: Path) -> None:
    (error, hint) = told(here, "sweep", "small.yaml")
    assert error == "error: small.yaml: a config, not a sweep"
    assert hint.startswith("hint: gradscope run small.yaml trains it")


@pytest.mark.parametrize("option", [("--until", "GS101"), ("--tolerance", "0.1")])
def test_what_a_search_looks_for_without_a_search_is_told(here: Path, option: tuple[str, str]) -> None:
    (here / "grid.yaml").write_text("base: small.yaml\naxes: {model.depth: [2, 3]}\n")
    assert told(here, "sweep", "grid.yaml", *option) == [
        f"error: {option[0]} is for a search",
        "hint: --find KEY searches an axis",
    ]


def test_a_rule_to_stop_on_that_there_is_not_is_told(here: Path) -> None:
    for rule, what in (("vanish", "; did you mean 'vanishing-gradients'?"), ("foo", " (gradscope rules lists them)")):
        assert told(here, "run", "small.yaml", "--stop-on", rule)[0].endswith(f"no rule is called '{rule}'{what}")


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_an_unknown_rule_is_told(here: Path, recorded: Path, option: str) -> None:
    (line, hint) = told(here, "check", recorded / "healthy", option, "vanishing-gradient")
    assert line == "error: no rule is called 'vanishing-gradient'; did you mean 'vanishing-gradients'?"
    assert hint == "hint: gradscope rules lists them"


@pytest.mark.parametrize(
    "words", [("chekc",), ("check", "--fail-on", "warnig"), ("runs", "--limit", "-1"), ("check", "--nope")]
)
def test_a_misused_command_line_is_exit_code_2(here: Path, words: tuple[str, ...]) -> None:
    result = gradscope(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: gradscope" in result.stderr


WORDS = st.sampled_from(
    [
        "small.yaml",
        "model.depth=2",
        "seed=x",
        "=",
        "model",
        "model.kind=",
        "a=[1",
        "training.steps={}",
        "ü=1",
        "--set",
        "-q",
        "name=a/b",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, min_size=1, max_size=4))
def test_any_words_are_refused_without_a_traceback(here: Path, words: list[str]) -> None:
    result = gradscope("run", "missing.yaml", *words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_baseline_that_is_none_is_told(here: Path, recorded: Path) -> None:
    lines = told(here, "check", recorded / "healthy", "--baseline", "small.yaml")
    assert lines[0].startswith("error: small.yaml: the baseline is not JSON: ")
    assert lines[1] == "hint: gradscope check RUN --format json -o FILE writes one"
