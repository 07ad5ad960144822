"""Which device trains: what the config names, or the machine's accelerator. Never a silent fall-back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from gradscope.errors import TrainingError

if TYPE_CHECKING:
    from gradscope.training.data import Data


DATA_SHARE = 0.4
"""Largest part of a device's free memory that data may take."""


def resolve(name: str) -> torch.device:
    """The device for ``auto`` (the accelerator that torch sees, else the CPU), ``cpu``, ``cuda`` or ``mps``.

    Raises ``TrainingError`` when the device that is named is not there.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    if name == "cpu" or (accelerator is not None and accelerator.type == name):
        return torch.device(name)
    backend = getattr(torch.backends, name, None)
    built = backend is not None and backend.is_built()
    why = "torch finds none on this machine" if built else f"this torch ({torch.__version__}) is built without it"
    there = accelerator.type if accelerator else "cpu"
    raise TrainingError(f"device {name!r} is not available: {why}", hint=f"use device: auto, here {there}")


def placed(data: Data, device: torch.device) -> Data:
    """The data on the device, so that no step waits for them; on the CPU where they would take too much of its memory.

    Then batches are copied while the device computes (``Batches``).
    """
    return data.to(device) if fits(data.nbytes, free_bytes(device)) else data


def fits(size: int, free: int | None) -> bool:
    """Whether so many bytes leave the greater part of what is free to the training. Unknown is taken for enough."""
    return free is None or size <= DATA_SHARE * free


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a CUDA device; None where torch does not tell."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


@contextlib.contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """Give the caller's random state of the CPU and of ``device`` back afterwards."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            yield


@contextlib.contextmanager
def failures_are_told(device: torch.device) -> Iterator[None]:
    """Turn torch's errors of a machine that cannot do the training into a ``TrainingError``; others pass as they are."""
    try:
        yield
    except RuntimeError as error:
        # out of memory has no type of its own on the CPU; the compiler's is private, and importing it takes seconds
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            hint = "lower data.batch_size (and raise training.accumulate to keep the step's batch), model.width or model.depth"
            raise TrainingError(f"out of memory on {device}", hint=hint) from error
        if any(kind.__name__ == "TorchDynamoException" for kind in type(error).__mro__):
            why = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
            raise TrainingError(f"torch.compile failed: {why}", hint="set training.compile to false") from error
        raise
