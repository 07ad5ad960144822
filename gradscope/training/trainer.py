"""One optimizer step after another: what every training of a config does, watched or not."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from gradscope.training.batches import Batches, on_device
from gradscope.training.build import Setup, optimizer_of
from gradscope.training.precision import precision_of
from gradscope.training.schedule import factor


class Trainer:
    """Takes the steps of a setup. Nothing in a step waits for the device.

    Everything that a step depends on is the step's number, the config, or in ``state_dict``; so a restored trainer goes on
    bit by bit as the one that was saved would have.
    """

    def __init__(self, setup: Setup) -> None:
        config = setup.config
        self.setup = setup
        self.options = config.training
        self.model = setup.model
        self.forward: nn.Module = setup.model
        """The model, or what torch.compile made of it."""
        if self.options.compile:
            self.forward = cast(nn.Module, torch.compile(setup.model))
        self.optimizer = optimizer_of(config.optimizer, setup.model)
        self.precision = precision_of(self.options.precision, setup.device)
        self.scaler = self.precision.scaler
        self.batches = Batches(setup.data.train, config.data.batch_size, config.seed, setup.device, setup.data.augmentation)

    def step(self, step: int) -> tuple[Tensor, Tensor | None]:
        """Take optimizer step number ``step``. The mean loss and the accuracy of its whole batch, before the update.

        The accuracy is None where there are numbers to predict.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.setup.config.optimizer.lr * factor(self.setup.config.schedule, step, self.options.steps)
        self.optimizer.zero_grad()
        k = self.options.accumulate
        shares, correct = [], []
        for part in range(k):
            x, targets = self.batches[step * k + part]
            with self.precision.autocast():
                outputs = self.forward(x)
                share = self.setup.loss(outputs, targets) / k
            torch.autograd.backward(self.scaler.scale(share) if self.scaler else share)
            shares.append(share.detach())
            correct.append(self._correct(outputs.detach(), targets))
        self._clip()
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        return torch.stack(shares).sum(), self._accuracy(correct)

    def _clip(self) -> None:
        parameters, options = self.model.parameters(), self.options
        if self.scaler and (options.clip_norm or options.clip_value):
            self.scaler.unscale_(self.optimizer)
        if options.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, options.clip_norm)
        elif options.clip_value:
            torch.nn.utils.clip_grad_value_(parameters, options.clip_value)

    @torch.no_grad()
    def validate(self) -> tuple[Tensor, Tensor | None]:
        """Mean loss and accuracy over the validation rows, in eval mode, as many rows at a time as a training batch has."""
        split, rows = self.setup.data.validation, self.batches.size
        losses, correct = [], []
        self.model.eval()
        for inputs, answers in zip(torch.split(split.x, rows), torch.split(split.y, rows), strict=True):
            x, targets = on_device(inputs, self.setup.device), on_device(answers, self.setup.device)
            with self.precision.autocast():
                outputs = self.model(x)
                losses.append(self.setup.loss(outputs, targets) * len(targets))
            correct.append(self._correct(outputs, targets))
        self.model.train()
        return torch.stack(losses).sum() / len(split), self._accuracy(correct)

    def _correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Which answers have their class as the largest output; None where outputs or targets are no classes."""
        if self.setup.data.regression or outputs.shape[:-1] != targets.shape:
            return None
        return outputs.argmax(-1) == targets

    @staticmethod
    def _accuracy(correct: list[Tensor | None]) -> Tensor | None:
        known = [part for part in correct if part is not None]
        return torch.cat(known).float().mean() if known else None

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, scaler and random states: tensors, numbers and strings alone."""
        device = self.setup.device
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
            "random": torch.get_rng_state(),
            "device": device.type,
            "device_random": None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None and state["device"] == self.setup.device.type:
            torch.get_device_module(self.setup.device).set_rng_state(state["device_random"])
