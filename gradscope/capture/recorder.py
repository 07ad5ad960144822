"""The recorder: reads a training at the moments at which each number is right, and hands blocks to a sink.

One optimizer step, in order: forward hooks (only at steps that sample layers) -> end of backward, by a callback queued from
one parameter's hook: gradients before clipping -> the optimizer's step pre-hook: gradients as the optimizer gets them, and
weights before -> ``step``: weights after, everything into the buffer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.capture import rows
from gradscope.capture.buffer import Buffer, Pending
from gradscope.capture.cadence import GRADIENTS, LAYERS, NOTHING, PARAMETERS, TIMESTEPS, Adaptive, Cadence, Fixed, Plan, Shared
from gradscope.capture.contents import Contents
from gradscope.capture.distributed import Processes
from gradscope.capture.guard import Guarded, Hook, Unclocked, in_normal_mode
from gradscope.capture.layers import Layers
from gradscope.capture.moments import Moments
from gradscope.capture.naming import compiled_under, unwrap
from gradscope.capture.parameters import Parameters
from gradscope.capture.structure import Structure
from gradscope.capture.through_time import replayable
from gradscope.record.grid import Block, Floats
from gradscope.record.manifest import Catalogue

FLUSH_SECONDS = 0.9
"""Rows older than this have left the device: what a kill can lose is at most this and one step."""
BUFFER_VALUES = 1 << 21


class Recorder:
    """Watches ``model`` and ``optimizers``; ``emit`` gets the blocks, ``note`` what could not be seen and why."""

    @in_normal_mode
    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Any],
        cadence: Cadence,
        emit: Callable[[list[Block]], None],
        note: Callable[[str], None],
        scaler: Any = None,
    ) -> None:
        self.model = model
        self.root = unwrap(model)
        self.optimizers = list(optimizers)
        self.cadence = cadence
        self.emit = emit
        self.note = note
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.step_index = 0
        self._before = 0.0
        """Seconds that were recorded before this recorder began."""
        self.buffer = Buffer()
        self.spent = 0.0
        compiled = compiled_under(model)
        self.structure = Structure(self.root, compiled)
        self._read_parameters()
        if self.processes.many and isinstance(cadence, Adaptive):
            self.cadence = Shared(cadence, self.processes.agree)
        if compiled:
            note(f"layers: {compiled} is compiled; its inside runs no hooks, so only its parameters are recorded")
        modules = self.structure.modules()
        self.layers: Layers | None = None
        if self.processes.layers_unseen:
            note(f"layers: {self.processes.layers_unseen}; their signals are not recorded")
        elif compiled != "the model":
            self.layers = Layers(self.root, modules, self.guard, alone=not self.processes.many)
        if self.processes.alone_of_many:
            note("several processes run, and the model is wrapped by none of them: what is recorded is this process's own")
        for name, module in modules:
            if isinstance(module, nn.RNNBase) and (why := replayable(module)):
                note(f"timesteps: {name} {why}; its gradient through time is not recorded")
        self.moments = Moments(
            optimizers,
            self.guard,
            note,
            inverse_scale=lambda: rows.inverse(rows.scale_of(self.scaler)),
            refresh=self._reread_if_changed,
            backward_ended=self._backward_ended,
            closure_evaluated=self._closure_evaluated,
            stepped=self._all_stepped,
        )
        if any(self.processes.sharded):  # all processes must read at the same moments
            self.moments.ask_all()
        self._broken = False
        self._plan: Plan = NOTHING
        self._armed = False
        self._contents = Contents()

    # ---- life

    @in_normal_mode
    def start(self) -> None:
        self.moments.start()
        self.structure.start()
        self._last_flush = self._last_step = time.perf_counter()
        self._began = self._last_step - self._before
        self._arm()

    def stop(self) -> None:
        """Takes every hook away and brings what is left to the sink."""
        if self.moments.stepped and not self.step_index:
            self.note("no step was recorded: scope.step(loss) comes once after each optimizer.step(), and was never called")
        self._disarm()
        self.moments.stop()
        self.structure.stop()
        if self.layers is not None:
            self.layers.clear()
        self.flush()

    def step(self, loss: Tensor | float, metrics: Mapping[str, Tensor | float | None]) -> None:
        """Ends the step: call once after the optimizer's (or where a scaler skipped it).

        Most steps read nothing, and come to this with a cold cache: there each call costs ten times what it seems to.
        """
        if torch.is_inference_mode_enabled():  # an evaluation may have been the last thing
            with torch.inference_mode(False):
                self.step(loss, metrics)
            return
        entered = time.perf_counter()
        if not self._broken:
            try:
                self._finish(loss, metrics, entered)
            except Exception as error:
                self.fail(error)
        self.step_index += 1
        ahead = min(entered - self._last_step, FLUSH_SECONDS)  # what waits now may not leave before the next step ends
        due = entered - self._last_flush + ahead > FLUSH_SECONDS or self.buffer.size > BUFFER_VALUES
        if due:
            self.flush()
        now = time.perf_counter()
        self.cadence.account(self._plan, self.spent + now - entered, now - self._last_step)
        self._last_step, self.spent = now, 0.0
        if not self._broken:
            try:
                self._arm()
            except Exception as error:
                self.fail(error)
        self.spent = time.perf_counter() - now

    def flush(self) -> None:
        """Waits for the device once and hands everything that waits to the sink."""
        try:
            blocks = [rows.without_idle_clipping(b) for b in self.buffer.drain()]
        except Exception as error:
            blocks = []
            self.fail(error)
        if blocks and self.processes.rank == 0:
            self.emit(blocks)
        self._last_flush = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """What a record that goes on elsewhere needs, after ``flush``: tensors, numbers, strings and containers of them."""
        return {
            "step": self.step_index,
            "wall_seconds": time.perf_counter() - self._began,
            "parameters": self.parameters.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from such a state; before ``start``."""
        self.step_index = state["step"]
        self._before = state["wall_seconds"]
        self.parameters.load_state_dict(state["parameters"])

    def catalogue(self) -> Catalogue:
        """What there is, as far as it is known; the same object until that changes."""
        return self._contents.catalogue(list(self.layers.survey.infos.values()) if self.layers else [], self.parameters)

    # ---- one step

    def _arm(self) -> None:
        plan, before = self.cadence.plan(self.step_index), self._plan
        self._plan = plan
        if not plan and not before and self._armed:
            self.moments.clear()
            return
        self._armed = True
        if not self.parameters.items:  # a lazy model has them once it has run
            self._reread_if_changed(surely=True)
        self.moments.arm(
            self.parameters,
            reads=bool(plan & {GRADIENTS, PARAMETERS}),
            full=PARAMETERS in plan,
            watch_backward=LAYERS in plan and self.layers is not None,
        )
        if PARAMETERS not in plan:
            self.parameters.of_weights.rest()
        if self.layers is not None:
            if LAYERS in plan:
                if (modules := self.structure.changed_modules()) is not None:
                    self.layers.renew(modules)
                self.layers.attach(through_time=TIMESTEPS in plan)
            else:
                self.layers.detach()

    def _disarm(self) -> None:
        self.moments.disarm()
        if self.layers is not None:
            self.layers.detach()

    def _backward_ended(self) -> None:
        if self.layers is not None and LAYERS in self._plan:
            self.layers.passes.end_of_backward()

    def _closure_evaluated(self) -> None:
        """What the layers do in a closure's later evaluations is at other weights."""
        if self.layers is not None:
            self.layers.detach()

    def _all_stepped(self) -> None:
        if self.layers is not None and LAYERS in self._plan:
            self.layers.passes.close()

    def _finish(self, loss: Tensor | float, metrics: Mapping[str, Tensor | float | None], now: float) -> None:
        moments = self.moments
        host: dict[str, float | Floats] = {"wall_seconds": now - self._began}
        if (lr := moments.lr if moments.lr is not None else self._current_lr()) is not None:
            host["lr"] = lr
        device = rows.of_user({"loss": loss, **metrics}, host)
        if self.scaler is not None:
            if moments.found_inf is not None:
                device["skipped"] = moments.found_inf
            else:
                host["skipped"] = float(not moments.stepped)
            if (scale := rows.scale_of(self.scaler)) is not None:
                device["loss_scale"] = scale.clone()
        elif moments.found_inf is not None:  # a scaler that watch was not told of
            device["skipped"] = moments.found_inf
        elif moments.sees_steps and not moments.stepped:
            host["skipped"] = 1.0
        raw, clipped = moments.finish() if self._plan else (None, None)
        full = PARAMETERS in self._plan
        if full and moments.sees_steps and not moments.stepped:
            self.parameters.of_weights.not_stepped()
        elif raw is None and moments.stepped and full:
            raw = self.parameters.nothing(full=True)  # what is known of the weights stands without it
        if raw is not None:
            row, of_step = rows.parameter_row(self.step_index, self.parameters, raw, clipped, full=full)
            device.update(of_step)
            self.buffer.add(row)
        if LAYERS in self._plan and self.layers is not None:
            device.update(self._read_layers(self.layers, b"" if raw is None else raw.present.tobytes()))
        self.buffer.add(Pending("steps", self.step_index, host=host, device=device))

    def _read_layers(self, layers: Layers, trained: bytes) -> dict[str, Tensor]:
        layers.complete()
        row = rows.layer_row(self.step_index, layers, self.processes, self.moments.inverse_scale)
        if row is not None:
            self.buffer.add(row)
        elif self.moments.stepped and layers.survey.watched:
            self.note("layers: no module with a gradient was called; its signals are not recorded")
        for timesteps in rows.timestep_rows(self.step_index, layers, self.processes, self.moments.inverse_scale):
            self.buffer.add(timesteps)
        of_step = rows.output_columns(layers, self.processes, self.moments.inverse_scale)
        if row is not None and not of_step and not layers.output.repeated:
            self.note("output: no gradient at the model's own output was seen; what the run achieved is not recorded")
        layers.finish(trained)
        for text in layers.notes:
            self.note(text)
        layers.notes.clear()
        layers.clear()
        return of_step

    # ---- small things

    def _read_parameters(self) -> None:
        named = self.structure.parameters()
        self.processes = Processes(self.model, list(named))
        self.parameters = Parameters([(name, p) for p, name in named.items()], self.processes)

    def _reread_if_changed(self, *, surely: bool = False) -> Parameters:
        if self.structure.has_others(self.parameters.items, self.parameters.names, surely=surely):
            self.flush()
            earlier = self.parameters
            self._read_parameters()
            self.parameters.follow(earlier)
        return self.parameters

    def _current_lr(self) -> float | None:
        return float(self.optimizers[0].param_groups[0]["lr"]) if self.optimizers else None

    def guard(self, hook: Hook) -> Hook:
        return (Unclocked if isinstance(self.cadence, Fixed) else Guarded)(self, hook)

    def fail(self, error: Exception) -> None:
        """An error of ours must not end somebody's training: recording ends instead, and says so."""
        if self._broken:
            return  # a hook that came late
        self._broken = True
        self._disarm()
        self.note(f"recording ended at step {self.step_index}: {type(error).__name__}: {error}")
