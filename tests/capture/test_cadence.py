"""How a cadence tells what it was set to, and what became of it."""

from __future__ import annotations

from gradscope.capture.cadence import EVERYTHING, GRADIENTS, NORMS, NOTHING, Adaptive, Fixed


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
