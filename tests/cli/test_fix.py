"""``gradscope fix``: what it writes, says and ends with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gradscope.record.reader import load_run
from gradscope.training import loop
from gradscope.training.config import load_config
from tests.cli.conftest import gradscope

SICK = """\
# five layers, and weights that are far too large
model: {kind: mlp, depth: 5, width: 32, activation: tanh, init: {scheme: lecun_normal, gain: 10.0}}   # large
data: {name: digits, batch_size: 64}
optimizer: {lr: 0.05}
training: {steps: 60, validate_every: null}
device: cpu
"""


@pytest.fixture(scope="session")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("fixed")
    (folder / "sick.yaml").write_text(SICK)
    return folder, gradscope("fix", folder / "sick.yaml", "--out", folder / "runs")


def test_the_cured_config_is_written_with_its_comments_and_what_changed(fixed: tuple[Path, Any]) -> None:
    folder, result = fixed
    assert result.exit_code == 0, result.output
    assert (folder / "sick.yaml").read_text() == SICK
    written = (folder / "sick.fixed.yaml").read_text()
    assert [line for line in SICK.splitlines() if line not in written.splitlines()] == [SICK.splitlines()[1]]
    assert "gain: critical}}   # large" in written
    assert "# was: model.init.gain: 10; GS202 saturated-activations" in written
    trained = load_run(folder / "runs" / "01-critical-init")
    assert load_config(folder / "sick.fixed.yaml").model_dump(mode="json") == trained.manifest.config


def test_before_and_after_what_was_tried_and_what_to_expect_are_told(fixed: tuple[Path, Any]) -> None:
    folder, result = fixed
    text = " ".join(result.stdout.split())
    assert "before ✗ pathological: GS202 saturated-activations training loss" in text
    assert "1 ✓ critical-init: model.init.gain=critical cures; training loss" in text
    assert "after ✓ healthy training loss" in text
    assert "GS202: 9" in text.partition("tried")[0]  # what was found, in its own words
    assert "validation accuracy 9" in text.partition("after")[2]
    assert "(chance 10.3%)" in text
    assert "at the start a layer passes back 0.7" in text
    assert result.stdout.count("gradient by layer") == 2
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "try 1: critical-init: model.init.gain=critical" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last == f"next: gradscope plot {folder / 'runs' / 'given'} {folder / 'runs' / '01-critical-init'}"


def test_a_run_that_was_recorded_is_not_trained_again(fixed: tuple[Path, Any], here: Path) -> None:
    folder, _ = fixed
    shutil.copy(folder / "sick.yaml", here)
    command = ("fix", "sick.yaml", "--run", folder / "runs" / "given", "--out", "again", "-o", "well.yaml", "--format", "json")
    result = gradscope(*command, "-q")
    assert result.exit_code == 0
    assert sorted(path.name for path in (here / "again").iterdir()) == ["01-critical-init"]
    assert not (here / "sick.fixed.yaml").exists()
    found = json.loads(result.stdout)
    assert (found["cure"], found["written"], found["healthy"]) == (0, "well.yaml", False)
    assert found["before"]["codes"] == ["GS202"]
    assert found["before"]["chance"]["accuracy"] == pytest.approx(37 / 359)
    (tried,) = found["tried"]
    assert tried["changes"] == {"model.init.gain": "critical"}
    assert tried["cures"] is True
    assert tried["training"]["accuracy"] > 0.9
    assert tried["expected"]["gain"] < found["before"]["expected"]["gain"]
    assert "activation" in [name for other in found["not_tried"] for name in other["remedies"]]
    assert load_config("well.yaml").name == "well"


def test_a_run_of_another_config_is_refused(fixed: tuple[Path, Any], here: Path) -> None:
    result = gradscope("fix", "small.yaml", "--run", fixed[0] / "runs" / "given")
    assert result.exit_code == 2
    assert "not a run of this config: its model differs" in " ".join(result.stderr.split())


def test_a_healthy_config_is_left_alone(here: Path) -> None:
    result = gradscope("fix", "small.yaml", "-q")
    assert result.exit_code == 0
    assert "nothing to cure" in result.stdout
    assert result.stderr == ""
    assert [p.name for p in here.glob("*.yaml")] == ["small.yaml"]


def test_a_training_too_short_to_show_anything_is_not_called_cured(here: Path) -> None:
    result = gradscope("fix", "small.yaml", "optimizer.lr=1e-9", "training.steps=4", "-q")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "nothing to cure was found; after 4 steps 100% of the output's variance is still unexplained" in text


def test_where_nothing_cures_it_says_so_and_writes_nothing(here: Path) -> None:
    """Numbers that are noise, at a learning rate that is too high: lower ones are healthy and learn nothing."""
    (here / "hard.yaml").write_text(
        "model: {kind: mlp, depth: 2, width: 8}\ndevice: cpu\nloss: mse\n"
        "data: {name: teacher, points: 400, features: 2, noise: 50.0, batch_size: 64}\n"
        "optimizer: {lr: 10.0}\ntraining: {steps: 48, validate_every: null}\n"
    )
    result = gradscope("fix", "hard.yaml", "-q")
    assert result.exit_code == 1, result.output
    assert "nothing cures it; no file was written" in result.stdout
    assert not (here / "hard.fixed.yaml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.yaml",), "no such file"),
        (("small.yaml", "model.depht=3"), "did you mean 'depth'"),
        (("small.yaml", "-o", "small.yaml"), "this is the config itself"),
        (("small.yaml", "-o", "no/such/x.yaml"), "there is no such folder"),
        (("small.yaml", "--out", "full"), "exists and is not empty"),
        (("small.yaml", "--run", "full"), "not a run folder"),
    ],
)
def test_what_cannot_be_is_told_at_once(here: Path, words: tuple[str, ...], message: str) -> None:
    (here / "full").mkdir()
    (here / "full" / "file").write_text("")
    result = gradscope("fix", *words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (SICK, ("--device", "cuda"), "cuda"),
        (SICK.replace("name: digits", "name: mnist, path: nowhere"), (), "nowhere"),
    ],
    ids=["device", "data"],
)
def test_a_training_that_cannot_be_carried_out_is_exit_code_three(
    here: Path, text: str, words: tuple[str, ...], message: str
) -> None:
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is such a device here")
    (here / "sick.yaml").write_text(text)
    result = gradscope("fix", "sick.yaml", "-q", *words)
    assert result.exit_code == 3, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not (here / "sick.fixed.yaml").exists()


def test_a_ctrl_c_ends_it_between_two_steps(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    (here / "sick.yaml").write_text(SICK)
    step = loop.Trainer.step

    def interrupted(self: Any, number: int) -> Any:
        if number == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, number)

    monkeypatch.setattr(loop.Trainer, "step", interrupted)
    result = gradscope("fix", "sick.yaml", "-q")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert not (here / "sick.fixed.yaml").exists()
