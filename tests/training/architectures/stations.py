"""Every architecture under ``watch``, as its users see it."""

from __future__ import annotations

import warnings
from typing import Any

import torch

import gradscope
from gradscope.record.run import Run
from gradscope.training.build import build
from gradscope.training.config import Config
from gradscope.training.trainer import Trainer

PRECISIONS = ["float32", "bfloat16", "float16"]


def small(model: dict[str, Any], data: dict[str, Any] | None = None, **sections: Any) -> Config:
    training = {"steps": 1, **sections.pop("training", {})}
    base = {"name": "small", "device": "cpu", "training": training}
    return Config.model_validate({**base, "model": model, "data": data or {"name": "digits", "batch_size": 16}, **sections})


def watched(config: Config) -> tuple[Run, Trainer]:
    """One step of a training, recorded; any warning is an error."""
    trainer = Trainer(build(config))
    if trainer.scaler:  # torch's first scale of 65536 may overflow, and the step would be skipped
        trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 64.0})
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with gradscope.watch(trainer.model, trainer.optimizer, every=1, scaler=trainer.scaler) as scope:
            loss, accuracy = trainer.step(0)
            scope.step(loss, accuracy=accuracy)
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trainer.model.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(trainer.model.parameters(), before, strict=True))
    return scope.run, trainer


def trunk(run: Run) -> list[str]:
    """Stations that every path from input to loss passes, in forward order."""
    return [layer.name for layer in run.manifest.catalogue.layers if layer.trunk]
