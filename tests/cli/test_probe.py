"""``gradscope probe``: what it says, draws and ends with."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from gradscope.probe import probe
from gradscope.probe.text import write
from gradscope.render.terminal import Terminal
from gradscope.training.build import build
from gradscope.training.config import load_config
from tests.cli.conftest import VANISHING, gradscope


@pytest.fixture
def sick(here: Path) -> Path:
    (here / "sick.yaml").write_text(VANISHING)
    return here / "sick.yaml"


def test_the_verdict_the_reach_the_cause_and_the_layers_are_said(sick: Path) -> None:
    result = gradscope("probe", sick)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "✗ pathological to expect sick 20 layers, untrained" in text
    assert "GS101 vanishing-gradients" in text
    assert "the gradient falls to 0.2" in text
    assert "up to about 5 layers; this net has 20." in text
    assert "decades are lost in the sigmoid's derivative; no init scale cures that" in text
    assert "theory: every layer is where it is predicted" in text
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    table = result.stdout.partition("  layer  ")[2].splitlines()
    assert [line.split()[0] for line in table[1:21]] == [*(f"layers.{i}" for i in range(19)), "head"]
    assert result.stderr.splitlines()[-1] == f"next: gradscope run {sick}"
    assert not (sick.parent / "runs").exists()


def test_json_holds_every_number_and_no_more_on_stdout(sick: Path) -> None:
    result = gradscope("probe", sick, "model.depth=6", "--format", "json", "-q")
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["verdict"] == "pathological"
    assert len(found["layers"]) == found["reach"]["have"] == 6
    ratio = found["layers"][0]["ratio"]
    low, high = found["layers"][0]["predicted"]["ratio_interval"]
    assert low < ratio < high
    assert found["layers"][0]["agrees"] is True


def test_overrides_are_taken_and_offered_for_the_run(here: Path) -> None:
    result = gradscope("probe", "small.yaml", "model.depth=4", "--set", "seed=3", "--device", "cpu")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == "next: gradscope run small.yaml model.depth=4 seed=3 device=cpu"


def test_the_same_config_is_probed_the_same(sick: Path) -> None:
    one, two = (gradscope("probe", sick, "--format", "json", "-q").stdout for _ in range(2))
    assert one == two


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_figure_is_drawn_where_it_is_asked_for(sick: Path, ending: str) -> None:
    result = gradscope("probe", sick, "model.depth=5", "-o", f"figures/probe.{ending}")
    assert result.exit_code == 0
    assert f"figure: figures/probe.{ending}" in result.stderr
    assert (sick.parent / "figures" / f"probe.{ending}").stat().st_size > 5_000


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.residual=true", "model.norm=layer"],
        ["model.depth=1"],
        ["model.dropout=0.2"],
        ["model.init.scheme=zeros"],
        ["model.activation=softsign"],
    ],
    ids=lambda words: words[0],
)
def test_every_kind_of_net_is_drawn_and_described(sick: Path, overrides: list[str]) -> None:
    result = gradscope("probe", sick, "model.depth=6", *overrides, "-o", "a.png")
    assert result.exit_code == 0
    assert (sick.parent / "a.png").stat().st_size > 5_000


def test_the_exit_code_is_one_where_a_finding_is_as_bad_as_asked(sick: Path) -> None:
    assert gradscope("probe", sick, "-q", "--fail-on", "error").exit_code == 1
    assert gradscope("probe", sick, "-q", "--fail-on", "error", "model.depth=4").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.yaml"], "missing.yaml"),
        (["small.yaml", "model.dept=4"], "did you mean"),
        (["small.yaml", "-o", "a.bmp"], ".png, .svg or .pdf"),
    ],
)
def test_bad_input_is_exit_code_two_in_one_message(here: Path, words: list[str], message: str) -> None:
    result = gradscope("probe", *words, "-q")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("width", "unicode"), [(40, True), (80, False), (80, True), (200, True)])
def test_the_text_fits_its_terminal(sick: Path, width: int, unicode: bool) -> None:
    setup = build(load_config(sick))
    found = probe(setup.model, setup.first_batch(), setup.loss, name="net")
    lines = write(found, terminal=Terminal(width=width, unicode=unicode)).splitlines()
    assert max(map(len, lines)) <= width
    assert unicode or all(line.isascii() for line in lines)
    assert ("allowed" in " ".join(lines)) == (width == 200)
    table = lines[next(i for i, line in enumerate(lines) if line.split()[:2] == ["layer", "signal"]) :][:21]
    assert not any("…" in line for line in table)  # a number that is cut off is another number
    assert ("theory" in table[0]) == (width >= 80)


def test_a_departure_is_marked_in_the_table_and_named_below(sick: Path) -> None:
    setup = build(load_config(sick, ["model.activation=tanh", "model.init.gain=1"]))
    with torch.no_grad():  # one unit has most of the weight, and saturates: no matrix of like entries
        for layer in list(setup.model.layers)[1:]:
            layer.weight[0] *= 30.0
    found = probe(setup.model, setup.first_batch(), setup.loss)
    assert found.departures
    text = " ".join(write(found).split())
    assert "departs" in text
    assert "depart from the prediction by more than chance allows" in text


def test_a_net_of_fifty_layers_is_answered_in_under_three_seconds_of_work(sick: Path) -> None:
    setup = build(load_config(sick, ["model.depth=50", "model.width=64", "model.activation=gelu"]))
    began = time.process_time()
    write(probe(setup.model, setup.first_batch(), setup.loss))
    assert time.process_time() - began < 3.0
