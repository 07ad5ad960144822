"""Checkpoints: the state of a training between two steps, in one file that is whole or not there."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from gradscope.errors import RunFolderError
from gradscope.record.files import write_whole

FORMAT = 1
"""Version of the file. History: 1 the first."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``state``, with which step number ``step`` is the next to take, and then remove the older checkpoints.

    The file appears under its name only when all of it is on the disk. ``state`` holds tensors, numbers, strings and
    containers of them, so that it loads without running code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:09d}.pt"
    write_whole(path, lambda draft: torch.save({"format": FORMAT, "step": step, "state": state}, draft))
    for old in folder.glob("step-*.pt"):
        if old != path:
            old.unlink()
    return path


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]]:
    """The next step and the state of the newest checkpoint in ``folder``; tensors are on the CPU.

    Raises:
        RunFolderError: there is none, it is damaged, or a newer version wrote it.
    """
    paths = sorted(folder.glob("step-*.pt"))
    if not paths:
        raise RunFolderError(
            f"{folder} holds no checkpoint to resume from",
            hint="set training.checkpoint_every to have one written every so many steps",
        )
    try:
        held = torch.load(paths[-1], map_location="cpu", weights_only=True)
        version, step, state = held["format"], held["step"], held["state"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise RunFolderError(f"{paths[-1]} is damaged and cannot be loaded: {type(error).__name__}") from error
    if version > FORMAT:
        raise RunFolderError(f"{paths[-1]} has checkpoint format {version}; this version reads up to {FORMAT}")
    return int(step), state
