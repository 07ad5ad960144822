# ruff: noqa: E501
"""Networks, data and losses that do not go together are refused, at the place in the config that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradscope.errors import ConfigError
from gradscope.record.run import Run
from gradscope.training.build import build
from gradscope.training.config import DATASETS, Config, load_config
from gradscope.training.loop import train
from gradscope.training.options import DataOptions


def problem(folder: Path, text: str) -> str:
    path = folder / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    (found,) = raised.value.problems
    return found.removeprefix(f"{folder}/")


REGRESSION = "diabetes has numbers to predict, not classes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model: {kind: rnn}\ndata: {name: digits}\n",
            "f.yaml:2:1: data.layout: rnn reads sequences, and digits gives images of shape (1, 8, 8) (expected rows or pixels)",
        ),
        (
            "model: {kind: rnn}\ndata: {layout: flat}\n",
            "f.yaml:2:16: data.layout: rnn reads sequences, and digits gives vectors of shape (64,) (expected rows or pixels)",
        ),
        (
            "model: {kind: rnn}\ndata: {name: spirals}\n",
            "f.yaml:2:14: data.name: rnn reads sequences, and spirals gives vectors of shape (2,)",
        ),
        (
            "model: {kind: logistic}\ndata: {name: diabetes}\n",
            f"f.yaml:1:1: loss: {REGRESSION} (got 'cross_entropy'; expected 'mse')",
        ),
        (
            "model: {kind: mlp}\ndata: {name: diabetes}\nloss: bce\n",
            f"f.yaml:3:7: loss: {REGRESSION} (got 'bce'; expected 'mse')",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_where_it_is_written(tmp_path: Path, text: str, expected: str) -> None:
    assert problem(tmp_path, text) == expected


class Late(DataOptions):
    """A data set that knows its shape only when it is loaded."""

    name: str = "late"


def test_data_that_show_their_shape_late_are_asked_about_when_they_are_loaded() -> None:
    known = Config.model_validate({"model": {"kind": "mlp"}, "data": {"name": "diabetes"}, "loss": "mse"})
    late = known.model_copy(update={"data": Late(name="diabetes", batch_size=8), "loss": "cross_entropy"})
    assert late.data.shape is None
    with pytest.raises(ConfigError, match="loss: diabetes has numbers to predict"):
        build(late)


@pytest.mark.parametrize("name", sorted(DATASETS.built_in))
def test_a_run_on_every_data_set_records_an_accuracy_only_of_classes(name: str) -> None:
    regression = DATASETS[name].Options().regression
    given: dict[str, Any] = {"model": {"kind": "logistic"}, "data": {"name": name, "batch_size": 16}, "training": {"steps": 2}}
    run: Run = train(Config.model_validate({**given, "device": "cpu", "loss": "mse" if regression else "cross_entropy"}))
    for column in ("accuracy", "validation_accuracy"):
        value = run.grid("steps", column).values[-1, 0]
        assert (value != value) if regression else 0 <= value <= 1
    assert run.grid("steps", "loss").values[-1, 0] > 0
    assert run.grid("steps", "validation_loss").values[-1, 0] > 0
