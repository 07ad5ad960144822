"""Where and when a run took place."""

from __future__ import annotations

import datetime
import platform
import sys
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


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def version() -> str:
    import gradscope

    return gradscope.__version__
