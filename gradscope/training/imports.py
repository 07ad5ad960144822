"""The user's own code by ``module:name``: what makes a network or data, and losses."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.errors import UserCodeError, did_you_mean

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (rows, outputs) and targets, classes (rows,) or numbers (rows, outputs), to the mean loss of the rows. Where many
answers are asked for, outputs (rows, answers, outputs) and classes (rows, answers)."""


def imported(path: str) -> Any:
    """What ``module:name`` names, with the current folder on the path as under ``python -m``.

    Raises ``UserCodeError`` where there is no such module or name, or the module cannot be imported.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise UserCodeError(f"there is no module {error.name!r}, neither in {here} nor installed") from error
        raise failed(f"importing {module}", error) from error
    except Exception as error:  # whatever a stranger's module does while it is imported
        raise failed(f"importing {module}", error) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserCodeError(f"{module} has no {name!r}{did_you_mean(part, vars(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise UserCodeError(f"{path} is no function or class (got {type(found).__name__})")
    return found


def made(path: str, given: Mapping[str, Any], offered: Mapping[str, Any]) -> Any:
    """What the factory returns, called with ``given`` and with those of ``offered`` that it names as parameters."""
    factory = imported(path)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # no signature to look at
        arguments = dict(given)
    else:
        arguments = {k: v for k, v in offered.items() if k in signature.parameters} | dict(given)
        try:
            signature.bind(**arguments)
        except TypeError as error:
            raise UserCodeError(f"{path} cannot be called with kwargs {dict(given)}: {error}") from error
    try:
        return factory(**arguments)
    except Exception as error:
        raise failed(f"calling {path}", error) from error


def loss_of(path: str) -> Loss:
    """A function of outputs and targets; a class is called without arguments first, as torch's losses are."""
    found = imported(path)
    loss: Loss = made(path, {}, {}) if isinstance(found, type) else found
    return loss


def check(
    model: nn.Module, loss: Loss, batch: tuple[Tensor, Tensor], shape: tuple[int, ...] | None
) -> Iterator[tuple[str, str]]:
    """What does not fit in one batch, run forward in eval mode: (``model.factory`` or ``loss``, what is wrong).

    ``shape`` is what the outputs must have; None leaves that to the loss.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield from _misfits(model, loss, batch, shape)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _misfits(
    model: nn.Module, loss: Loss, batch: tuple[Tensor, Tensor], shape: tuple[int, ...] | None
) -> Iterator[tuple[str, str]]:
    x, targets = batch
    try:
        outputs = model(x)
    except Exception as error:
        yield "model.factory", str(failed(f"the network, on a batch of shape {tuple(x.shape)},", error))
        return
    if not isinstance(outputs, Tensor):
        yield "model.factory", f"the network gives a {type(outputs).__name__} (expected a tensor)"
        return
    if shape is not None and outputs.shape != shape:
        told = f"the network gives {tuple(outputs.shape)} for a batch of shape {tuple(x.shape)}"
        yield "model.factory", f"{told} (expected {shape}, a row's outputs last)"
        return
    try:
        value = loss(outputs, targets)
    except Exception as error:
        told = f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}"
        yield "loss", str(failed(f"the loss, on {told},", error))
        return
    if not isinstance(value, Tensor) or value.numel() != 1 or value.dim():
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        yield "loss", f"it gives {got} (expected one number, a tensor of shape ())"
    elif not value.requires_grad:
        yield "loss", "no gradient leads back from it to a parameter of the network"


def failed(what: str, error: BaseException) -> UserCodeError:
    """The error to raise for one in the user's code: what it is, and the line of theirs it came from."""
    ours = tuple(str(Path(str(module.__file__)).parent) + os.sep for module in (torch, sys.modules["gradscope"]))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((*ours, "<frozen"))]
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    first = str(error).strip().partition("\n")[0]
    return UserCodeError(f"{what} fails: {type(error).__name__}: {first}{at}")
