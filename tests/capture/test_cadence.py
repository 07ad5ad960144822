"""How a cadence tells what it was set to, and what became of it."""

from __future__ import annotations

from collections import Counter

import pytest

from gradscope.capture.cadence import EVERYTHING, GRADIENTS, NORMS, NOTHING, Adaptive, Fixed, Plan


def test_a_fixed_cadence_tells_its_kinds_and_nothing_that_was_measured() -> None:
    assert Fixed({GRADIENTS: 1, "layers": 16, "timesteps": 0}).describe() == {
        "cadence": "gradients every step, layers every 16 steps"
    }


def test_an_adaptive_cadence_tells_its_budget_before_a_step_was_taken() -> None:
    assert Adaptive(0.02).describe() == {"cadence": "0.5 s in the first 1 s, then 0.02 of the step time"}


def test_what_recording_took_is_told_in_seconds_beside_the_training_without_it() -> None:
    cadence = Adaptive(0.02)
    for plan in [EVERYTHING] + 3 * [NOTHING] + [NORMS] + 3 * [NOTHING]:
        cadence.account(plan, 0.5 if plan else 0.0, 10.5 if plan else 10.0)
    assert (
        cadence.describe()["took"]
        == "1 s beside 80 s of training; gradient norms every 4 steps, layers and weights every 8 steps"
    )


def test_what_was_never_read_is_told_so() -> None:
    cadence = Adaptive(0.0)
    cadence.account(NOTHING, 0.0, 1.0)
    assert cadence.describe()["took"].endswith("gradient norms never, layers and weights never")


def test_what_a_step_costs_that_reads_nothing_is_counted_with_what_no_clock_inside_sees_of_it() -> None:
    def steps(idle: float) -> Counter[Plan]:
        """A thousand of 1 s, with a tenth as the budget; norms cost 0.1 s, and nothing else does."""
        cadence, found = Adaptive(0.1), Counter[Plan]()
        for step in range(1000):
            plan = cadence.plan(step)
            cost = {EVERYTHING: 0.0, NORMS: 0.1, NOTHING: idle}[plan]
            found[plan] += 1
            cadence.account(plan, cost, 1.0 + cost)
        return found

    free, costly = steps(0.0), steps(0.02)
    assert 0.1 * free[NORMS] == pytest.approx(0.5 * 0.1 * 1000, rel=0.01)
    assert 0.1 * costly[NORMS] == pytest.approx(0.5 * (0.1 * 1000 - 2 * 0.02 * costly[NOTHING]), rel=0.01)
