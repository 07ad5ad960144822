from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gradscope.training.build import build
from gradscope.training.config import Config
from gradscope.training.trainer import Trainer
from tests.training.architectures.stations import small, watched
from tests.training.datasets.loading import load, rows

DATA = {"name": "copying", "symbols": 4, "items": 3, "delay": 5, "points": 400, "batch_size": 16}
MODELS: dict[str, dict[str, Any]] = {
    "rnn": {"kind": "rnn", "cell": "gru", "width": 8},
    "transformer": {"kind": "transformer", "layers": 1, "width": 8, "feedforward": 8},
}


def test_a_sequence_shows_symbols_then_blanks_a_mark_and_blanks_for_the_answers() -> None:
    x, y = rows(load("copying", symbols=4, items=3, delay=5, points=400))
    assert x.shape == (400, 5 + 2 * 3, 4 + 2)
    assert torch.equal(x.sum(2), torch.ones(400, 11))
    blank, mark = 4, 5
    told = torch.tensor([blank] * 4 + [mark] + [blank] * 3)
    assert torch.equal(x[:, 3:].argmax(2), told.expand(400, 8))
    assert torch.equal(x[:, :3].argmax(2), y)


def test_all_symbols_are_drawn_alike_and_apart() -> None:
    _, y = rows(load("copying", symbols=4, items=2, points=8000))
    together = torch.zeros(4, 4).index_put_((y[:, 0], y[:, 1]), torch.ones(8000), accumulate=True)
    # Each of the 16 pairs has 500 rows, give or take sqrt(500 * 15 / 16) = 22.
    assert ((together - 500).abs() < 5 * 22).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_loss_is_the_mean_over_the_answers_of_the_last_steps(kind: str, loss: str) -> None:
    setup = build(small(MODELS[kind], DATA, loss=loss))
    x, targets = setup.first_batch()
    y = setup.model(x)
    assert y.shape == (16, 3, 4)
    each = {
        "cross_entropy": lambda o, t: F.cross_entropy(o, t),
        "mse": lambda o, t: F.mse_loss(o, F.one_hot(t, 4).float()),
        "bce": lambda o, t: F.binary_cross_entropy_with_logits(o, F.one_hot(t, 4).float()),
    }[loss]
    expected = sum(each(y[:, k], targets[:, k]) for k in range(3)) / 3
    assert setup.loss(y, targets).item() == pytest.approx(expected.item(), rel=1e-6)


def test_an_answer_is_the_head_on_the_output_of_its_step() -> None:
    setup = build(small(MODELS["rnn"], DATA))
    model: Any = setup.model
    x, _ = setup.first_batch()
    for k in range(3):  # what comes after a step does not change its answer
        states, _ = model.rnn(x[:, : 8 + k + 1])
        assert torch.allclose(model(x)[:, k], model.head(states[:, -1]), atol=1e-6)


@pytest.mark.parametrize("kind", MODELS)
def test_a_watched_step_records_the_accuracy_of_all_answers(kind: str) -> None:
    run, trainer = watched(small(MODELS[kind], DATA))
    assert not run.manifest.notes
    fresh = build(trainer.setup.config)
    x, targets = Trainer(fresh).batches[0]
    right = (fresh.model(x).argmax(2) == targets).float().mean().item()
    assert run.grid("steps", "accuracy").values[0, 0] == pytest.approx(right)


def test_a_transformer_copies() -> None:
    model = {"kind": "transformer", "layers": 1, "width": 16, "heads": 2, "feedforward": 16}
    trainer = Trainer(build(small(model, DATA, optimizer={"name": "adam", "lr": 0.01}, training={"steps": 150})))
    first, _ = trainer.step(0)
    assert first.item() == pytest.approx(math.log(4), rel=0.5)
    for step in range(1, 150):
        trainer.step(step)
    _, accuracy = trainer.validate()
    assert accuracy is not None
    assert accuracy.item() > 0.95


def test_a_network_that_answers_once_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.kind`\n  mlp answers once, and copying asks at each of the last 10 steps"):
        Config.model_validate({"model": {"kind": "mlp"}, "data": {"name": "copying"}})
