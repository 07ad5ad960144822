"""``watch`` and ``Scope``: a training under observation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from gradscope.capture.cadence import Cadence, cadence
from gradscope.capture.recorder import Recorder
from gradscope.detect.engine import Settings, check, require_rules
from gradscope.errors import RecordingWarning, UsageError, warn
from gradscope.record.finding import Finding, Report
from gradscope.record.grid import Block
from gradscope.record.manifest import Manifest, Status
from gradscope.record.run import MemoryTable, Run
from gradscope.record.schema import TABLES
from gradscope.record.sink import Sink
from gradscope.scope.environment import environment, now, settings_of, version
from gradscope.scope.judging import Judging, Stop
from gradscope.scope.opponents import LAST, Opponents
from gradscope.signals.motion import warming_up

METRICS = ("accuracy", "validation_loss", "validation_accuracy")
"""What ``Scope.step`` takes besides the loss: columns of the table ``steps``."""


def watch(
    model: nn.Module,
    optimizer: Any = None,
    *,
    out: str | Path | None = None,
    every: int | Mapping[str, int] | None = None,
    overhead: float = 0.02,
    scaler: Any = None,
    on_finding: Callable[[Finding], None] | None = None,
    stop_on: str | Iterable[str] | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    theory: Mapping[str, float] | None = None,
    last_step: int | None = None,
    resume: Mapping[str, Any] | None = None,
) -> Scope:
    """Watches a training: gradients, weights, updates and the signals at every layer, without changing a single number.

        with gradscope.watch(model, optimizer) as scope:
            for x, y in loader:
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
                scope.step(loss)
        print(scope.check().verdict)

    ``optimizer`` is a ``torch.optim.Optimizer``, a list of them, or None where there is none to hook (gradients are then read
    at the end of backward only). ``out`` is the run folder; without it the record stays in memory and spills to a
    temporary folder when it grows. ``every`` is None (as often as ``overhead``, a share of the step time, allows), a number of
    steps, or a mapping of ``gradients``, ``parameters``, ``layers``, ``timesteps`` to one, where what is not named is not read.
    ``scaler`` is the ``torch.amp.GradScaler``, if there is one: without it the gradients under it would be read scaled.
    ``on_finding`` is called with each finding that is new and stands; ``stop_on`` names rules (or codes) whose warnings and
    errors then end the ``with`` block. A finding stands when it was found again and again over the last fifth of a run that
    had its chance: a quarter of its steps, but 32 at least, and 256 at most or where ``last_step`` is not given; what nothing
    takes back, such as a loss of NaN, stands at once. Both judge what is recorded so far by the rules of ``check``, at steps
    that grow by an eighth, and within ``overhead`` unless both ``every`` and ``stop_on`` are given. ``config`` and ``theory``,
    a prediction of the gradient by layer, go into the manifest. ``last_step`` is the last step's number where it is known; a
    fixed ``every`` reads it too. ``resume`` is a scope's ``state_dict``: the record in ``out`` is cut there and goes on.

    Raises ``UsageError`` for arguments that cannot be, ``RunFolderError`` where ``out`` cannot be used.
    """
    optimizers = [] if optimizer is None else list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
    if not isinstance(model, nn.Module):
        raise UsageError(f"watch: model must be a torch.nn.Module (got {type(model).__name__})")
    for given in optimizers:
        if not hasattr(given, "param_groups"):
            raise UsageError(f"watch: optimizer must be a torch.optim.Optimizer or a list of them (got {type(given).__name__})")
    if scaler is not None and not hasattr(scaler, "get_scale"):
        raise UsageError(f"watch: scaler must be a torch.amp.GradScaler (got {type(scaler).__name__})")
    stops = () if stop_on is None else (stop_on,) if isinstance(stop_on, str) else tuple(stop_on)
    require_rules(stops)
    read_at = cadence(every, overhead, last_step)  # refuses what cannot be, before there is a folder
    if resume is None:
        manifest = Manifest(
            name=name or (Path(out).name if out is not None else type(model).__name__),
            created=now(),
            gradscope=version(),
            environment=environment(),
            optimizer=settings_of(optimizers) if config is None else {},  # which a config tells
            config=dict(config) if config is not None else None,
            theory=dict(theory or {}),
        )
        sink = _sink(out, manifest)
    elif out is None:
        raise UsageError("watch: resume needs the run folder, out, to go on with")
    else:
        from gradscope.record.store import RunFolder

        sink = RunFolder.reopen(Path(out), from_step=resume["step"])
        manifest = sink.run().manifest
    scope = Scope(
        model,
        optimizers,
        sink,
        manifest,
        read_at,
        scaler=scaler,
        on_finding=on_finding,
        stop_on=stops,
        judging_share=None if stops and every is not None else overhead,  # a fixed cadence stops at the same step each time
        last_step=last_step,
    )
    if resume is not None:
        scope.recorder.load_state_dict(resume)
    return scope


class Scope:
    """What ``watch`` returns; a context manager. Everything that it put into the model is gone when it is left."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Any],
        sink: Sink,
        manifest: Manifest,
        cadence: Cadence,
        *,
        scaler: Any = None,
        on_finding: Callable[[Finding], None] | None = None,
        stop_on: Sequence[str] = (),
        judging_share: float | None = None,
        last_step: int | None = None,
    ) -> None:
        self.settings = Settings()
        planned = None if last_step is None else last_step + 1
        self._rising = False
        self._judging = Judging(
            self._judged, on_finding, stop_on, judging_share, planned=planned, warming_up=lambda: self._rising
        )
        self._sink = sink
        self._manifest = manifest
        self._cadence = cadence
        self._notes: dict[str, None] = dict.fromkeys(manifest.notes)
        self._recorder = Recorder(model, optimizers, cadence, self._emit, self._note, scaler)
        self._others = Opponents(model, optimizers, found=manifest.shared_loss)
        self._catalogue = self._recorder.catalogue()
        self._followed: list[Block] | None = None
        self._open = self._unjudged = False
        self._describe()

    def __enter__(self) -> Scope:
        if self._open:
            raise UsageError("this scope is entered already")
        self._open = True
        self._recorder.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        self.close(error)
        return isinstance(error, Stop)

    def step(self, loss: Tensor | float, **metrics: Tensor | float | None) -> None:
        """Ends one optimizer step: call it once after ``optimizer.step()``, whatever the accumulation.

        ``loss`` is the step's loss, a number or a tensor of one element; nothing waits for its value. ``metrics`` may be
        ``accuracy``, ``validation_loss`` and ``validation_accuracy``, likewise.
        """
        if not self._open:
            raise UsageError(
                "scope.step outside of its with block", hint="with gradscope.watch(model, optimizer) as scope: ..."
            )
        for name in metrics:
            if name not in METRICS:
                raise UsageError(f"scope.step takes no {name!r} (expected one of {', '.join(METRICS)})")
        if isinstance(loss, Tensor) and loss.numel() != 1:
            raise UsageError(f"scope.step needs a loss of one element (got shape {tuple(loss.shape)})")
        if self._recorder.step_index <= LAST:
            self._recorder.guard(self._others.look)(loss, self._recorder.step_index)
        self._recorder.step(loss, metrics)
        if self._judging.wanted:
            self._judging.after(self._recorder.step_index, self._recorder.processes)

    def check(self) -> Report:
        """The verdict on what was recorded so far."""
        return check(self.run, self.settings)

    @property
    def run(self) -> Run:
        """The record so far, as ``load_run`` would give it."""
        self._recorder.flush()
        self._describe()
        return self._sink.run()

    def fresh(self) -> Run:
        """What was recorded since this was last asked, all of it the first time: what a view that follows a training draws."""
        if self._followed is None:
            found = self.run
        else:
            self._recorder.flush()
            self._describe()
            blocks = {name: [b for b in self._followed if b.table == name] for name in TABLES}
            found = Run(self._manifest, {name: MemoryTable(some) for name, some in blocks.items()})
        self._followed = []
        return found

    @property
    def recorder(self) -> Recorder:
        return self._recorder

    def flush(self) -> None:
        """Brings everything recorded so far to the sink."""
        self._recorder.flush()

    def state_dict(self) -> dict[str, Any]:
        """What ``watch`` needs as ``resume`` to go on with this record, bit by bit: tensors and plain values, for a checkpoint.

        Take it between two steps; everything recorded so far reaches the sink first.
        """
        self.flush()
        return self._recorder.state_dict()

    def close(self, error: BaseException | None = None) -> None:
        """Takes the hooks away and ends the record; called on leaving the ``with`` block."""
        if not self._open:
            return
        self._open = False
        self._others.close()
        self._recorder.stop()
        try:
            if error is None:
                self._judging.finish(self._recorder.processes)
        finally:
            self._end(error)

    # ---- inside

    def _end(self, error: BaseException | None) -> None:
        status, reason = Status.FINISHED, None
        if isinstance(error, Stop):
            status, reason = Status.STOPPED, str(error)
        elif isinstance(error, KeyboardInterrupt):
            status, reason = Status.INTERRUPTED, "interrupted from the keyboard"
        elif error is not None:
            status, reason = Status.FAILED, f"{type(error).__name__}: {error}"
        self._manifest = replace(self._manifest, status=status, reason=reason, finished=now())
        self._describe()
        self._sink.close()

    def _emit(self, blocks: list[Block]) -> None:
        if self._recorder.catalogue() != self._catalogue:
            self._describe()
        for block in blocks:
            self._sink.append(block)
        if self._followed is not None:
            self._followed += blocks

    def _describe(self) -> None:
        self._catalogue = self._recorder.catalogue()
        # a resumed record has no stations before its first sampled step; those of the record that it goes on with stand
        known = self._catalogue if self._catalogue.layers else replace(self._catalogue, layers=self._manifest.catalogue.layers)
        described = replace(
            self._manifest,
            catalogue=known,
            notes=tuple(self._notes),
            shared_loss=self._others.found,
            recording={**self._manifest.recording, **self._cadence.describe()},
        )
        if described != self._manifest or not self._open:
            self._manifest = described
            self._sink.describe(described)

    def _note(self, text: str) -> None:
        """Says once what could not be seen, and keeps it in the manifest."""
        if text not in self._notes:
            self._notes[text] = None
            warn(text, RecordingWarning)

    def _judged(self) -> Report:
        """The verdict so far; an error on the way to it ends the judging, never the training."""
        if self._unjudged:
            return Report(self._manifest.name, 0)
        try:
            run = self.run
            self._rising = warming_up(run)
            return check(run, self.settings)
        except Exception as error:
            self._unjudged = True
            self._note(f"the run is judged no more while it goes on: {type(error).__name__}: {error}")
            return Report(self._manifest.name, 0)


def _sink(out: str | Path | None, manifest: Manifest) -> Sink:
    from gradscope.record.spill import SpillingSink
    from gradscope.record.store import RunFolder

    return SpillingSink(manifest) if out is None else RunFolder.create(Path(out), manifest)
