"""The learning rate at a step: a pure function, so that a resumed run needs no memory of it."""

from __future__ import annotations

import math

from gradscope.training.config import Constant, Cosine, Exponential, Linear, Schedule, Step


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
        case Exponential():
            return float(schedule.gamma**step)
