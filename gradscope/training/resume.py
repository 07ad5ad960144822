"""Going on with an interrupted training from its last checkpoint, as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from gradscope.errors import RunFolderError, UsageError
from gradscope.record.manifest import Status
from gradscope.record.reader import read_manifest
from gradscope.record.run import Run
from gradscope.training.build import Setup, build
from gradscope.training.checkpoint import load_checkpoint
from gradscope.training.config import Config
from gradscope.training.device import failures_are_told, own_random_state, resolve
from gradscope.training.loop import CHECKPOINTS, Listener, Watcher, observe, take_steps
from gradscope.training.trainer import Trainer


def resume(
    path: Path,
    *,
    on_setup: Callable[[Setup], None] | None = None,
    progress: Watcher | None = None,
    on_finding: Listener | None = None,
) -> Run:
    """Go on with the run in the folder ``path`` from its last checkpoint and give the whole record.

    Rows after the checkpoint are cut first. What follows is bit-identical to the uninterrupted run (``wall_seconds`` aside).

    Raises:
        RunFolderError: no run folder, no checkpoint that fits in it, or another process writes it.
        UsageError: the run is finished, or was not recorded by ``gradscope run``.
        TrainingError: no such device, out of memory.
    """
    config = config_of(path)
    device = resolve(config.device)
    step, state = load_checkpoint(path / CHECKPOINTS)
    with own_random_state(device), failures_are_told(device):
        setup = build(config)
        if on_setup is not None:
            on_setup(setup)
        trainer = Trainer(setup)
        try:
            trainer.load_state_dict(state["trainer"])
            scope = observe(trainer, path, state["scope"], on_finding=on_finding)
        except (KeyError, ValueError, RuntimeError) as error:
            raise RunFolderError(f"{path / CHECKPOINTS}: the checkpoint does not fit this run's network: {error}") from error
        return take_steps(trainer, scope, range(step, config.training.steps), path, progress)


def config_of(path: Path) -> Config:
    """The config of the run in this folder, which must not have come to its end."""
    manifest = read_manifest(path)
    if manifest.status in (Status.FINISHED, Status.STOPPED):
        raise UsageError(f"{path}: this run is {manifest.status.value}; there is nothing to resume")
    if manifest.config is None:
        raise UsageError(f"{path}: this run was not recorded by gradscope run; resume it in its own training code")
    try:
        return Config.model_validate(manifest.config)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise RunFolderError(f"{path}: the config in its manifest cannot be used: {at}: {first['msg']}") from error
