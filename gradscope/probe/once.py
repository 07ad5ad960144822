"""One batch forward and back through a model under watch, which leaves no trace in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.errors import RecordingWarning, UnsupportedError, UsageError
from gradscope.probe.calls import Calls
from gradscope.record.run import Run
from gradscope.scope import watch

Loss = Callable[..., Tensor]


class Still(torch.optim.Optimizer):
    """An optimizer that moves nothing: the recorder reads the weights where one begins its step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__([{"params": list(model.parameters())}], {"lr": 0.0})

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Nothing."""


def once(model: nn.Module, batch: Any, loss_fn: Loss, name: str) -> tuple[Run, Calls]:
    """The record of one step without an update, and which modules were called in it."""
    inputs, targets = _parts(batch)
    with ExitStack() as stack:
        stack.enter_context(untouched(model, loss_fn))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", RecordingWarning)  # they stand in the manifest's notes
        optimizer = Still(model)
        scope = stack.enter_context(watch(model, optimizer, every=1, name=name))
        calls = stack.enter_context(Calls(model))
        model.train()
        loss = loss_fn(_forward(model, inputs), *targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"probe: loss_fn must give a tensor of one element (got {got})")
        if not loss.requires_grad:
            raise UsageError("probe: the loss depends on no parameter that requires a gradient")
        torch.autograd.backward(loss)
        optimizer.step()
        scope.step(loss)
        calls.let_go()
    return scope.run, calls


@contextmanager
def untouched(model: nn.Module, loss_fn: object) -> Iterator[None]:
    """Gradients, buffers, modes and random states are afterwards as before, bit by bit.

    Raises ``UnsupportedError`` where a parameter has no values yet, or a hook that runs when its gradient arrives: that may
    be an optimizer, which would take a step.
    """
    for key, p in model.named_parameters():
        if isinstance(p, nn.UninitializedParameter):
            raise UnsupportedError(f"probe: {key} has no shape yet", hint="run one batch through the model first")
        if getattr(p, "_post_accumulate_grad_hooks", None):
            raise UnsupportedError(
                f"probe: {key} has a hook that runs when its gradient arrives, which might change it",
                hint="probe the model before such hooks, an optimizer inside backward for example, are registered",
            )
    modules = [model, loss_fn] if isinstance(loss_fn, nn.Module) else [model]
    parameters = list({p: None for m in modules for p in m.parameters()})
    gradients = [p.grad for p in parameters]
    modes = [(m, m.training) for m in model.modules()]
    buffers = [(m, k, b, b.clone()) for m in model.modules() for k, b in m._buffers.items() if b is not None]
    devices = {p.device for p in parameters if p.device.type not in ("cpu", "meta")}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for device in devices:
            at = device.index if device.index is not None else 0
            stack.enter_context(torch.random.fork_rng(devices=[at], device_type=device.type))
        try:
            for p in parameters:
                p.grad = None
            yield
        finally:
            with torch.no_grad():
                for m, key, buffer, value in buffers:
                    m._buffers[key] = buffer
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)
            for m, mode in modes:
                m.training = mode
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient


def _parts(batch: Any) -> tuple[Any, tuple[Any, ...]]:
    """Inputs, and what the loss gets besides the outputs."""
    if isinstance(batch, tuple | list):
        if len(batch) != 2:
            raise UsageError(
                f"probe: a batch is (inputs, targets) or inputs alone (got {len(batch)} parts)",
                hint="several inputs stand in a tuple of their own: ((a, b), targets)",
            )
        return _detached(batch[0]), (batch[1],)
    return _detached(batch), ()


def _forward(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _detached(inputs: Any) -> Any:
    """The inputs, so that no gradient arrives at them."""
    if isinstance(inputs, Tensor):
        return inputs.detach()
    if isinstance(inputs, Mapping):
        return {k: _detached(v) for k, v in inputs.items()}
    return tuple(_detached(v) for v in inputs) if isinstance(inputs, tuple | list) else inputs
