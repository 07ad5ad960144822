"""Number formats of a training: float32, bfloat16 by autocast, float16 by autocast with a gradient scaler."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """``dtype`` is what autocast computes in (None: no autocast); ``scaler`` is there for float16 alone.

    Weights and the gradients that reach the optimizer are float32 throughout.
    """

    device: torch.device
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler | None

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def precision_of(name: str, device: torch.device) -> Precision:
    """The precision called ``float32``, ``bfloat16`` or ``float16`` on ``device``."""
    dtype = _AUTOCAST[name]
    scaler = torch.amp.GradScaler(device.type) if dtype is torch.float16 else None
    return Precision(device, dtype, scaler)
