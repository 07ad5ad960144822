"""Schedules of the config, and the learning rate at a step: a pure function, so that a resumed run needs no memory of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from gradscope.strict.section import Section
from gradscope.training.options import Count, Positive


class ScheduleOptions(Section):
    """What all schedules share. Warm-up comes first; the schedule runs over the steps that are left."""

    name: str
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly to lr."""


class Constant(ScheduleOptions):
    """The learning rate stays at lr."""

    name: Literal["constant"] = "constant"


class Linear(ScheduleOptions):
    """The learning rate falls on a straight line."""

    name: Literal["linear"] = "linear"
    end_factor: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end, as a share of lr."""


class Cosine(ScheduleOptions):
    """The learning rate falls along half a cosine (Loshchilov & Hutter 2017)."""

    name: Literal["cosine"] = "cosine"
    end_factor: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end, as a share of lr."""


class Step(ScheduleOptions):
    """The learning rate is multiplied by gamma every step_size steps."""

    name: Literal["step"] = "step"
    step_size: Count = 100
    """Steps between two falls."""
    gamma: Positive = 0.1
    """Factor of each fall."""


class MultiStep(ScheduleOptions):
    """The learning rate is multiplied by gamma at each milestone, as in He et al. (2016)."""

    name: Literal["multistep"] = "multistep"
    milestones: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = (100, 150)
    """Steps at which it falls, counted from the training's start whatever the warm-up."""
    gamma: Positive = 0.1
    """Factor of each fall."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        for i, (earlier, later) in enumerate(pairwise(self.milestones)):
            if later <= earlier:
                yield f"milestones.{i + 1}", f"not after the one before (got {later} after {earlier}; expected a rising list)"


class Exponential(ScheduleOptions):
    """The learning rate is multiplied by gamma at each step."""

    name: Literal["exponential"] = "exponential"
    gamma: Positive = 0.99
    """Factor of each step."""


Schedule = Constant | Linear | Cosine | Step | MultiStep | Exponential
SCHEDULES: Mapping[str, type[Section]] = {
    "constant": Constant, "linear": Linear, "cosine": Cosine, "step": Step, "multistep": MultiStep,
    "exponential": Exponential,
}  # fmt: skip


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at ``step`` (0 .. steps - 1).

    Warm-up rises linearly, 1/w at step 0 and 1 at step w - 1. Then the schedule starts at 1; ``linear`` and ``cosine``
    would reach their end at step ``steps``, one past the last.
    """
    warmup = schedule.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    return _after_warmup(schedule, step - warmup, steps - warmup)


def _after_warmup(schedule: Schedule, step: int, steps: int) -> float:
    match schedule:
        case Constant():
            return 1.0
        case Linear():
            return 1.0 + (schedule.end_factor - 1.0) * step / steps
        case Cosine():
            return schedule.end_factor + (1.0 - schedule.end_factor) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        case Step():
            return float(schedule.gamma ** (step // schedule.step_size))
        case MultiStep():
            return float(schedule.gamma ** bisect_right(schedule.milestones, step + schedule.warmup_steps))
        case Exponential():
            return float(schedule.gamma**step)
