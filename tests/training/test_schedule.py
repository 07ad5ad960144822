from __future__ import annotations

import pytest
import torch

from gradscope.training.schedule import Constant, Cosine, Exponential, Linear, MultiStep, Step, factor

STEPS = 40


def of_torch(make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


SCHEDULERS = torch.optim.lr_scheduler
SAME_AS_TORCH = [
    (Constant(), lambda o: SCHEDULERS.LambdaLR(o, lambda _: 1.0)),
    (Linear(end_factor=0.1), lambda o: SCHEDULERS.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=STEPS)),
    (Cosine(end_factor=0.2), lambda o: SCHEDULERS.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.2)),
    (Step(step_size=7, gamma=0.5), lambda o: SCHEDULERS.StepLR(o, step_size=7, gamma=0.5)),
    (MultiStep(milestones=(8, 21), gamma=0.5), lambda o: SCHEDULERS.MultiStepLR(o, milestones=[8, 21], gamma=0.5)),
    (Exponential(gamma=0.9), lambda o: SCHEDULERS.ExponentialLR(o, gamma=0.9)),
]


@pytest.mark.parametrize(("schedule", "make"), SAME_AS_TORCH, ids=lambda v: getattr(v, "name", ""))
def test_a_schedule_is_the_one_of_torch(schedule: Constant, make: object) -> None:
    assert [factor(schedule, s, STEPS) for s in range(STEPS)] == pytest.approx(of_torch(make), rel=1e-9)


def test_warm_up_rises_linearly_to_the_full_rate_and_the_schedule_runs_over_the_rest() -> None:
    schedule = Cosine(warmup_steps=10)
    assert [factor(schedule, s, STEPS) for s in range(10)] == pytest.approx([(s + 1) / 10 for s in range(10)])
    rest = [factor(schedule, s, STEPS) for s in range(10, STEPS)]
    assert rest == pytest.approx([factor(Cosine(), s, 30) for s in range(30)])
    assert rest[0] == 1.0


def test_warm_up_may_take_the_whole_training() -> None:
    assert factor(Linear(warmup_steps=STEPS), STEPS - 1, STEPS) == 1.0


def test_milestones_are_steps_of_the_training_whatever_the_warm_up() -> None:
    schedule = MultiStep(milestones=(12, 20), warmup_steps=10)
    assert [factor(schedule, s, STEPS) for s in (9, 10, 11, 12, 19, 20, 39)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_milestones_that_do_not_rise_are_refused_at_the_one_that_does_not() -> None:
    with pytest.raises(ValueError, match=r"milestones\.1`\n  not after the one before \(got 8 after 8"):
        MultiStep(milestones=(8, 8))
