"""When a step's gradients are read: the moments at which each number is right, in any training loop.

Raw gradients are read when a backward ends, by a callback queued from a parameter's post-accumulate hook; the last one before
the optimizer's step counts. Clipped ones are read in the optimizer's step pre-hook, where they differ; with a closure, when its
first evaluation returns, for the pre-hook runs before it. An optimizer that steps inside backward is read parameter by
parameter, in its pre-hook. Of several optimizers, each one's parameters are read at its own step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.capture.anchor import Anchor, in_backward
from gradscope.capture.guard import Guard
from gradscope.capture.parameters import Parameters, Reading
from gradscope.record.grid import Bools


class Moments:
    """The readings of one step at a time. ``backward_ended``, ``closure_evaluated`` and, where all optimizers have
    begun theirs, ``stepped`` are called at those moments.
    """

    def __init__(
        self,
        optimizers: Sequence[Any],
        guard: Guard,
        note: Callable[[str], None],
        *,
        inverse_scale: Callable[[], Tensor | None],
        refresh: Callable[[], Parameters],
        backward_ended: Callable[[], None],
        closure_evaluated: Callable[[], None],
        stepped: Callable[[], None],
    ) -> None:
        self.optimizers = list(optimizers)
        self.guard = guard
        self.note = note
        self._inverse_scale_now = inverse_scale
        self._refresh = refresh
        self._backward_ended = backward_ended
        self._closure_evaluated = closure_evaluated
        self._stepped = stepped
        self._hooks: list[Any] = []
        self._anchor = Anchor(self._end_of_backward, guard)
        self.clear()

    def clear(self) -> None:
        """Before a step that reads nothing: what the one before has left is let go of."""
        self.lr: float | None = None
        self.inverse_scale: Tensor | None = None
        self.found_inf: Tensor | None = None
        """Where a fused optimizer decides inside its step whether to take it: 1.0 if it did not."""
        self.stepped: list[Any] = []
        """The optimizers that stepped, in order."""
        self._raw: Reading | None = None
        self._latest: Reading | None = None
        self._clipped: Reading | None = None
        self._inside_backward = False
        self._evaluated = False
        self._reads = self._full = self._watches = False

    # ---- life

    @property
    def sees_steps(self) -> bool:
        """Whether an optimizer tells of its steps."""
        return bool(self._hooks)

    def start(self) -> None:
        for optimizer in self.optimizers:
            if hasattr(optimizer, "register_step_pre_hook"):
                self._hooks.append(optimizer.register_step_pre_hook(self.guard(self._before_step)))
            else:
                kind = type(optimizer).__name__
                self.note(f"parameters: {kind} has no step hooks; what clipping and the step did is not recorded")
        if not self._hooks:
            self._anchor.distrust()  # nothing would show that a backward missed it

    def ask_all(self) -> None:
        """Trusts no parameter to tell alone that a backward runs."""
        self._anchor.distrust()

    def stop(self) -> None:
        self._anchor.lift()
        for handle in self._hooks:
            handle.remove()
        self._hooks = []
        self.clear()

    def arm(self, parameters: Parameters, *, reads: bool, full: bool, watch_backward: bool) -> None:
        """Before a step: ``reads`` norms of gradients, ``full`` everything about parameters, or just when backward ends."""
        self.clear()
        self.parameters = parameters
        self._reads, self._full = reads, full
        self._watches = reads or watch_backward
        if self._watches:
            self._anchor.drop(parameters.items)
        else:
            self._anchor.lift()

    def disarm(self) -> None:
        self._anchor.lift()

    def finish(self) -> tuple[Reading | None, Reading | None]:
        """What the step took: gradients before clipping and, where something changed them after, as the optimizer got them."""
        raw, clipped = self._raw or self._latest, self._clipped
        if raw is not None and not self.stepped and self._anchor.passed_over():
            raw = clipped = None  # a micro-batch may have come after it
        if raw is None and self._reads and any(p.grad is not None for p in self.parameters.items) and self._missed_one():
            self._anchor.distrust()
            self.note("gradients: a backward did not reach the parameters that tell of one; from now on all of them tell")
        if raw is not None and self.stepped and len(self.optimizers) > 1 and self.inverse_scale is None:
            idle = self._owned([o for o in self.optimizers if o not in self.stepped])
            idle &= ~self._owned(self.stepped)
            if idle.any():  # their gradients wait for another step, or for nobody
                raw = self.parameters.without(raw, idle)
                clipped = clipped and self.parameters.without(clipped, idle)
        self._latest = self._raw = self._clipped = None
        return raw, clipped

    def _missed_one(self) -> bool:
        """Of a step without a reading: whether gradients came of which nothing told. Where nothing stepped they may be old."""
        return bool(self.stepped) or self._anchor.passed_over()

    # ---- the end of backward

    def _end_of_backward(self, nested: bool) -> None:
        if not nested:
            self._backward_ended()
        if self._evaluated:
            return  # a closure's later evaluations: the record is the gradient at the weights the step began with
        self.inverse_scale = self._inverse_scale_now()
        if not self._reads:
            return
        if self._inside_backward and self._latest is not None:
            self.parameters.measure_some(self.parameters.items, self._latest, inverse_scale=self.inverse_scale)
            return
        self.parameters = self._refresh()
        self._latest = self.parameters.measure(full=self._full, inverse_scale=self.inverse_scale)
        if not (self._latest.whole or self._latest.present.any()):
            self.note("gradients: gone when backward ended; pass the optimizers that step inside it to watch")

    # ---- the optimizer's step

    def _before_step(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.stepped.append(optimizer)
        self._evaluated = False
        if self.lr is None:
            self.lr = float(optimizer.param_groups[0]["lr"])
        found = getattr(optimizer, "found_inf", None)
        if isinstance(found, Tensor):
            self.found_inf = found.clone() if self.found_inf is None else torch.maximum(self.found_inf, found)
        if not self._watches:
            return None
        if self._full and not self.parameters.of_weights.watching:
            self.parameters.of_weights.before_step()
        if in_backward():
            self._step_inside_backward(optimizer)
            return None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            if self._reads:
                self._take(optimizer)
            if all(o in self.stepped for o in self.optimizers):
                self._stepped()
            return None

        finished = self.guard(self._after_closure)

        def evaluate() -> Any:
            loss = closure()
            finished(optimizer)
            return loss

        if "closure" in kwargs:
            return args, {**kwargs, "closure": evaluate}
        return (args[0], evaluate, *args[2:]), kwargs

    def _after_closure(self, optimizer: Any) -> None:
        if self._evaluated:
            return
        if self._reads:
            self._take(optimizer)
        self._evaluated = True
        self._closure_evaluated()

    def _take(self, optimizer: Any) -> None:
        """Reads this optimizer's gradients as it gets them."""
        parameters = self.parameters
        scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer unscales inside its step
        inverse = scale.reciprocal() if isinstance(scale, Tensor) else None
        if self._latest is None:
            if not self._anchor.chosen and any(p.grad is not None for p in parameters.items):
                self._latest = parameters.measure(full=self._full, inverse_scale=inverse)  # set by hand, not by a backward
            else:
                return
        latest, before = self._latest, self._raw
        mine = self._owned([optimizer]) if len(self.optimizers) > 1 else parameters.every
        self._raw = latest if before is None else parameters.merged(before, latest, mine)
        if parameters.moved(latest, mine):
            if self._anchor.passed_over():  # it may be a backward that moved them: what came before clipping is not known
                self._latest = self._raw = None
                return
            clipped = parameters.measure(full=False, inverse_scale=inverse)
            self._clipped = clipped if mine.all() else parameters.merged(self._clipped or latest, clipped, mine)
        elif self._clipped is not None:
            self._clipped = parameters.merged(self._clipped, latest, mine)

    def _step_inside_backward(self, optimizer: Any) -> None:
        self._inside_backward = True
        if not self._reads:
            return
        if any(self.parameters.processes.sharded):
            self.note("gradients: an optimizer that steps inside backward takes shards that are not yet added up")
            return
        if self._latest is None:
            self._latest = self.parameters.nothing(full=self._full)
        mine = [p for group in optimizer.param_groups for p in group["params"]]
        self.parameters.measure_some(mine, self._latest, inverse_scale=self._inverse_scale_now())

    def _owned(self, optimizers: Sequence[Any]) -> Bools:
        owned = np.zeros(len(self.parameters.items), bool)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if (i := self.parameters.place.get(p)) is not None:
                        owned[i] = True
        return owned
