"""Where and when a run took place, and what took its steps."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch


def environment() -> dict[str, str]:
    """Where a run took place: versions and device."""
    accelerator: Any = getattr(torch, "accelerator", None)
    device = "cpu"
    with suppress(RuntimeError):
        if accelerator is not None and accelerator.is_available():
            device = str(accelerator.current_accelerator())
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{sys.platform} {platform.machine()}",
        "device": device,
    }


def settings_of(optimizers: Sequence[Any]) -> dict[str, Any]:
    """The optimizer's name and what it is set to, of its first group, without what is off; of several each by its place."""
    if len(optimizers) != 1:
        return {str(i): settings_of([optimizer]) for i, optimizer in enumerate(optimizers)}
    (optimizer,) = optimizers
    first, known = optimizer.param_groups[0], getattr(optimizer, "defaults", {"lr": None})
    told = {key: _plain(first.get(key)) for key in known}
    groups = {"groups": len(optimizer.param_groups)} if len(optimizer.param_groups) > 1 else {}
    return {"name": type(optimizer).__name__, **{key: value for key, value in told.items() if value}, **groups}


def _plain(value: Any) -> Any:
    """A setting as JSON has it; nothing for what is no number."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, torch.Tensor):
        return _plain(value.item()) if value.numel() == 1 else None
    if isinstance(value, float):
        return float(f"{value:.12g}")  # a schedule works out 0.0003999999999999993 for 4e-4
    return value if isinstance(value, bool | int | str) else None


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def version() -> str:
    import gradscope

    return gradscope.__version__
