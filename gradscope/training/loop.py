"""The training loop: takes the steps of a config under a ``Scope``, as anybody's loop would. It records; the scope judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gradscope.detect.engine import Settings
from gradscope.record.finding import Finding
from gradscope.record.run import Run
from gradscope.record.store import require_free
from gradscope.scope import Scope, watch
from gradscope.training.build import Setup, build
from gradscope.training.checkpoint import save_checkpoint
from gradscope.training.config import Cadence, Config
from gradscope.training.device import failures_are_told, own_random_state, resolve
from gradscope.training.interrupt import deferred_interrupt
from gradscope.training.trainer import Trainer

RECORDED_STEPS = 10_000
"""A run of up to so many steps has all of them recorded, a longer one is thinned evenly to at most as many."""
CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in a run folder."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands after ``step``. Making it waits for nothing; reading ``loss`` waits for the device."""

    step: int
    steps: int
    scope: Scope
    loss_tensor: Tensor

    @property
    def loss(self) -> float:
        return self.loss_tensor.item()


Listener = Callable[[Finding], None]
"""Called with each finding that is new and stands, between two steps."""
Watcher = Callable[[Progress], None]
"""Called after every step; what is shown, and how often, is for it to decide."""


def train(
    config: Config,
    out: Path | None = None,
    *,
    on_setup: Callable[[Setup], None] | None = None,
    foretell: Callable[[Setup], Mapping[str, float]] | None = None,
    progress: Watcher | None = None,
    on_finding: Listener | None = None,
) -> Run:
    """Train as ``config`` says and give the record, in the folder ``out`` or in memory.

    ``on_setup`` is called once with what will be trained, before the first step, ``progress`` after each, ``on_finding`` with
    each finding while it trains. A finding of ``detect.stop_on`` ends the run with status ``stopped`` and itself as the reason.
    ``foretell`` may say before the first step what theory expects of the gradient at each layer; that is kept with the record.
    After a Ctrl-C it ends between two steps with status ``interrupted`` and, in a folder, with a checkpoint to resume from.

    Raises:
        ConfigError: what the data or the initialisation shows to be wrong, such as a batch larger than the data.
        TrainingError: no such device, out of memory.
        RunFolderError: ``out`` exists and is not empty, or cannot be written.
    """
    if out is not None:
        require_free(out)
    device = resolve(config.device)
    with own_random_state(device), failures_are_told(device):
        setup = build(config)
        if on_setup is not None:
            on_setup(setup)
        theory = foretell(setup) if foretell is not None else None
        trainer = Trainer(setup)
        scope = observe(trainer, out, theory=theory, on_finding=on_finding)
        if out is not None:
            (out / "config.yaml").write_text(config.source or config.to_yaml(), "utf-8")
            (out / "config.resolved.yaml").write_text(config.to_yaml(), "utf-8")
        return take_steps(trainer, scope, range(config.training.steps), out, progress)


def observe(
    trainer: Trainer,
    out: Path | None,
    resume: Mapping[str, Any] | None = None,
    *,
    theory: Mapping[str, float] | None = None,
    on_finding: Listener | None = None,
) -> Scope:
    """A scope on the trainer, as the sections ``record`` and ``detect`` want it; ``resume`` is an earlier scope's state."""
    config = trainer.setup.config
    scope = watch(
        trainer.forward,
        trainer.optimizer,
        out=out,
        every=cadence(config),
        scaler=trainer.scaler,
        name=config.name,
        config=config.model_dump(mode="json"),
        theory=theory,
        last_step=config.training.steps - 1,
        resume=resume,
        on_finding=on_finding,
        stop_on=config.detect.stop_on,
    )
    scope.settings = Settings(ignore=config.detect.ignore)
    return scope


def take_steps(trainer: Trainer, scope: Scope, steps: range, out: Path | None, progress: Watcher | None) -> Run:
    """Take these steps under ``scope`` and close it."""
    options = trainer.options
    with deferred_interrupt() as interrupt, suppress(KeyboardInterrupt), scope:
        for step in steps:
            loss, accuracy = trainer.step(step)
            last = step == steps[-1]
            if last or (options.validate_every and step % options.validate_every == 0):
                validation_loss, validation_accuracy = trainer.validate()
                scope.step(loss, accuracy=accuracy, validation_loss=validation_loss, validation_accuracy=validation_accuracy)
            else:
                scope.step(loss, accuracy=accuracy)
            if progress is not None:
                progress(Progress(step, steps.stop, scope, loss))
            due = options.checkpoint_every and (step + 1) % options.checkpoint_every == 0
            if out is not None and (due or interrupt.asked):
                save_checkpoint(out / CHECKPOINTS, step + 1, {"trainer": trainer.state_dict(), "scope": scope.state_dict()})
            if interrupt.asked and not last:
                raise KeyboardInterrupt
    return scope.run


def cadence(config: Config) -> int | dict[str, int]:
    """``record.every`` as ``watch`` takes it: ``auto`` is a function of the number of steps alone."""
    every = config.record.every
    if every == "auto":
        return -(-config.training.steps // RECORDED_STEPS)
    return every.model_dump() if isinstance(every, Cadence) else every
