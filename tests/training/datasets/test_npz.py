from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradscope.errors import ConfigError, TrainingError
from gradscope.training.build import build
from gradscope.training.config import Config
from tests.training.datasets.loading import load, rows

DRAW = np.random.default_rng(0)
X, CLASSES = DRAW.normal(3.0, 2.0, (50, 7)), np.arange(50) % 3


def written(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "my.npz", **arrays)
    return str(folder / "my.npz")


def given(path: str, kind: str = "mlp", **sections: Any) -> Config:
    model = {"kind": kind, "width": 4, **({} if kind == "rnn" else {"depth": 3})}
    base = {"device": "cpu", "model": model, "data": {"name": "npz", "path": path, "batch_size": 8}}
    return Config.model_validate({**base, **sections})


@pytest.mark.parametrize("standardise", ["each", "together", "nothing"])
def test_rows_and_classes_are_those_of_the_file(standardise: str, tmp_path: Path) -> None:
    data = load("npz", path=written(tmp_path, x=X, y=CLASSES), batch_size=8, standardise=standardise)
    x, y = rows(data)
    assert sorted(y.tolist()) == sorted(CLASSES.tolist())
    axis = {"each": 0, "together": None, "nothing": None}[standardise]
    train = data.train.x.double().numpy()
    if standardise == "nothing":
        assert np.allclose(np.sort(x.numpy(), 0), np.sort(X, 0), atol=1e-6)
    else:
        assert np.allclose(train.mean(axis), 0, atol=1e-6)
        assert np.allclose(train.std(axis), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("y", "targets", "outputs"),
    [
        (CLASSES, torch.int64, 3),
        (CLASSES > 1, torch.int64, 2),
        (X[:, 0], torch.float32, 1),
        (X[:, :2].astype(np.float16), torch.float32, 2),
    ],
)
def test_whole_numbers_are_classes_and_others_are_predicted(y: Any, targets: torch.dtype, outputs: int, tmp_path: Path) -> None:
    data = load("npz", path=written(tmp_path, rows=X, labels=y), inputs="rows", targets="labels", batch_size=8)
    assert (data.train.y.dtype, data.outputs) == (targets, outputs)


@pytest.mark.parametrize(("shape", "kind"), [((50, 7), "mlp"), ((50, 6, 3), "rnn"), ((50, 2, 8, 8), "cnn")])
def test_vectors_sequences_and_images_are_read_by_what_they_are_for(shape: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, x=DRAW.normal(size=shape), y=CLASSES)
    assert build(given(path, kind)).data.input_shape == shape[1:]
    if kind == "rnn":
        return
    with pytest.raises(ConfigError, match=r"data\.name: rnn reads sequences, and npz gives (vectors|images) of shape"):
        build(given(path, "rnn"))


def test_classes_at_each_of_the_last_steps_are_answered_by_a_recurrent_network(tmp_path: Path) -> None:
    path = written(tmp_path, x=DRAW.normal(size=(50, 6, 3)), y=DRAW.integers(0, 4, (50, 2)))
    setup = build(given(path, "rnn"))
    assert setup.model(setup.first_batch()[0]).shape == (8, 2, 4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "has no array 'y'"),
        ({"x": X, "y": CLASSES[:49]}, "there are 49 targets for 50 rows of inputs"),
        ({"x": X[:, 0], "y": CLASSES}, r"the inputs have shape \(50,\)"),
        ({"x": X, "y": np.zeros((50, 2, 2))}, r"the targets have shape \(50, 2, 2\)"),
        ({"x": X, "y": CLASSES - 1}, r"a class is -1 \(expected whole numbers from 0\)"),
        ({"x": np.where(X > 3, np.nan, X), "y": CLASSES}, "the inputs hold NaN or infinity"),
        ({"x": X, "y": np.full(50, np.inf)}, "the targets hold NaN or infinity"),
        ({"x": X * 1j, "y": CLASSES}, "the inputs are complex numbers"),
        ({"x": X.astype(str), "y": CLASSES}, "the inputs are no array of numbers"),
        ({"x": X.astype(object), "y": CLASSES}, "cannot be read as arrays"),
        ({"x": X[:0], "y": CLASSES[:0]}, "there are 0 targets for 0 rows"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_arrays_that_cannot_be_used_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        load("npz", path=written(tmp_path, **arrays), batch_size=8)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"there\.npz, and there is no such file"):
        load("npz", path=str(tmp_path / "there.npz"))
    path = Path(written(tmp_path, x=X, y=CLASSES))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="cannot be read as arrays"):
        load("npz", path=str(path))
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(TrainingError, match=r"one\.npy is no \.npz file"):
        load("npz", path=str(tmp_path / "one.npy"))


def test_numbers_to_predict_need_mse_which_shows_when_they_are_loaded(tmp_path: Path) -> None:
    path = written(tmp_path, x=X, y=X[:, 0])
    with pytest.raises(ConfigError, match="loss: npz has numbers to predict, not classes"):
        build(given(path))
    assert build(given(path, loss="mse")).data.regression
