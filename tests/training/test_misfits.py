# ruff: noqa: E501
"""Networks, data and losses that do not go together are refused, at the place in the config that says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gradscope.errors import ConfigError
from gradscope.record.run import Run
from gradscope.strict.writing import dump
from gradscope.training.build import build
from gradscope.training.config import ARCHITECTURES, DATASETS, Config, load_config
from gradscope.training.loop import train
from gradscope.training.options import DataOptions
from gradscope.training.trainer import Trainer
from tests.training.datasets.loading import AT_HAND, NEED_FILES


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


@pytest.mark.parametrize(
    ("model", "where", "what"),
    [
        (
            "{kind: mlp, init: {layers: {hed: {gain: 1}}}}",
            "model.init.layers.hed",
            "no layer is called so (expected a name such as layers.0 or head, or linear; did you mean 'head'?)",
        ),
        (
            "{kind: resnet, depth: 8, init: {layers: {layers.*.conv3: {gain: 1}}}}",
            "model.init.layers.layers.*.conv3",
            "no layer is called so (expected a name such as stem or head, or conv or linear; did you mean 'layers.2.conv2'?)",
        ),
        (
            "{kind: resnet, depth: 8, init: {layers: {conv: {bias: 0.1}}}}",
            "model.init.layers.conv",
            "there are no biases to start at 0.1",
        ),
        (
            "{kind: mlp, init: {layers: {recurrent: {gain: 1}}}}",
            "model.init.layers.recurrent",
            "no layer is called so (expected a name such as layers.0 or head, or linear)",
        ),
    ],
)
def test_a_start_of_layers_that_are_not_there_is_refused(tmp_path: Path, model: str, where: str, what: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(f"model: {model}\ndata: {{name: digits}}\n")
    with pytest.raises(ConfigError) as raised:
        build(load_config(path))
    (found,) = raised.value.problems
    assert re.sub(r"^f\.yaml:1:\d+: ", "", found.removeprefix(f"{tmp_path}/")) == f"{where}: {what}"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "{kind: mlp, init: {layers: {head: {gian: 1}}}}",
            "model.init.layers.head.gian: unknown key (expected one of scheme, gain, fan, bias; did you mean 'gain'?)",
        ),
        (
            "{kind: mlp, init: {layers: {a b: {gain: 1}}}}",
            "model.init.layers.a b: wrong type (got 'a b'; expected a layer's name, in which * stands for anything)",
        ),
        (
            "{kind: mlp, init: {layers: {head: 3}}}",
            "model.init.layers.head: wrong type (got 3; expected a section of keys)",
        ),
        (
            "{kind: mlp, residual: {fixup: true}, init: {layers: {head: {gain: 1}}}}",
            "model.init.layers: Fixup says how each layer starts; leave one of them out",
        ),
        (
            "{kind: highway, init: {layers: {layers.*.gate: {bias: 1}}}}",
            "model.init.layers: the biases of the gates start at gate_bias; set that",
        ),
        (
            "{kind: rnn, init: {layers: {head: {scheme: lsuv}}}}",
            "model.init.scheme: lsuv scales layers that are called once; a recurrent layer is called at every step",
        ),
    ],
)
def test_a_start_of_layers_that_makes_no_sense_is_refused(tmp_path: Path, model: str, expected: str) -> None:
    layout = "rows" if "rnn" in model else "image"
    found = problem(tmp_path, f"model: {model}\ndata: {{layout: {layout}}}\n")
    assert re.sub(r"^f\.yaml:1:\d+: ", "", found) == expected


class Late(DataOptions):
    """A data set that knows its shape only when it is loaded."""

    name: str = "late"


def test_data_that_show_their_shape_late_are_asked_about_when_they_are_loaded() -> None:
    known = Config.model_validate({"model": {"kind": "mlp"}, "data": {"name": "diabetes"}, "loss": "mse"})
    late = known.model_copy(update={"data": Late(name="diabetes", batch_size=8), "loss": "cross_entropy"})
    assert late.data.shape is None
    with pytest.raises(ConfigError, match="loss: diabetes has numbers to predict"):
        build(late)


@pytest.mark.parametrize("name", sorted(set(AT_HAND) - {"copying"}))
def test_a_run_on_every_data_set_records_an_accuracy_only_of_classes(name: str) -> None:
    regression = DATASETS[name].Options().regression
    given: dict[str, Any] = {"model": {"kind": "logistic"}, "data": {"name": name, "batch_size": 16}, "training": {"steps": 2}}
    run: Run = train(Config.model_validate({**given, "device": "cpu", "loss": "mse" if regression else "cross_entropy"}))
    for column in ("accuracy", "validation_accuracy"):
        value = run.grid("steps", column).values[-1, 0]
        assert (value != value) if regression else 0 <= value <= 1
    assert run.grid("steps", "loss").values[-1, 0] > 0
    assert run.grid("steps", "validation_loss").values[-1, 0] > 0


TINY: dict[str, dict[str, Any]] = {
    "cnn": {"depth": 3, "width": 2},
    "highway": {"depth": 3, "width": 4},
    "import": {"factory": "tests.training.own:Network"},
    "logistic": {},
    "mlp": {"depth": 2, "width": 4},
    "resnet": {"depth": 8, "width": 2},
    "rnn": {"width": 4},
    "transformer": {"layers": 1, "width": 4, "heads": 2, "feedforward": 4},
}
READS = {"cnn": "image", "resnet": "image", "rnn": "sequence", "transformer": "sequence"}
"""What an architecture is made for; the others take any row as a vector."""
GIVES: dict[tuple[str, str | None], str] = {
    ("adding", None): "sequence",
    ("cifar10", "image"): "image",
    ("cifar10", "rows"): "sequence",
    ("copying", None): "answers",  # a sequence that asks at many of its steps
    ("breast-cancer", None): "vector",
    ("diabetes", None): "vector",
    ("digits", "flat"): "vector",
    ("digits", "image"): "image",
    ("digits", "pixels"): "sequence",
    ("digits", "rows"): "sequence",
    ("fashion-mnist", "image"): "image",
    ("fashion-mnist", "flat"): "vector",
    ("import", None): "vector",
    ("mnist", "image"): "image",
    ("mnist", "pixels"): "sequence",
    ("npz", None): "vector",
    ("recall", None): "sequence",
    ("spirals", None): "vector",
    ("teacher", None): "vector",
    ("wine", None): "vector",
}


def test_every_architecture_and_data_set_is_in_the_tables() -> None:
    assert set(TINY) == set(ARCHITECTURES.built_in)
    assert {name for name, _ in GIVES} == set(DATASETS.built_in)


@pytest.mark.parametrize("data", GIVES, ids=str)
@pytest.mark.parametrize("kind", TINY)
def test_every_architecture_trains_on_the_data_it_can_read_under_every_loss_and_refuses_others(
    kind: str, data: tuple[str, str | None], made_up_files: Path, tmp_path: Path
) -> None:
    name, layout = data
    given: dict[str, Any] = {"model": {"kind": kind, **TINY[kind]}, "data": {"name": name, "batch_size": 8}, "device": "cpu"}
    if layout:
        given["data"]["layout"] = layout
    if name == "import":
        given["data"]["factory"] = "tests.training.own:rows"
    elif name in NEED_FILES:
        given["data"] |= (
            {"path": f"{made_up_files / name}.npz"}
            if name == "npz"
            else {"path": str(made_up_files / name), "published": False}
        )
    reads, gives = READS.get(kind), GIVES[data]
    refused = []
    if gives == "answers" and reads != "sequence" and kind != "import":
        refused.append(f"model.kind: {kind} answers once, and")
    if reads not in (None, "sequence" if gives == "answers" else gives):
        refused.append(f"data.{'layout' if layout else 'name'}: {kind} reads {reads}s, and")
    regression = name in AT_HAND and DATASETS[name].Options().regression
    path = tmp_path / "f.yaml"
    for loss in ("cross_entropy", "mse", "bce"):
        path.write_text(dump({**given, "loss": loss}))
        expected = [*refused, *(["loss:"] if regression and loss != "mse" else [])]
        if not expected:
            trainer = Trainer(build(load_config(path)))
            assert trainer.step(0)[0].isfinite()
            continue
        with pytest.raises(ConfigError) as raised:
            build(load_config(path))
        told = [re.sub(r"^\S+?:\d+:\d+: ", "", found) for found in raised.value.problems]
        assert [found.partition(f" {name} ")[0] for found in told] == expected
