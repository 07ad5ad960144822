"""GS101 to GS106: each fires, keeps silent on the healthy twin, and turns at its threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradscope.detect.engine import check
from gradscope.detect.rules import (
    exploding_gradients,
    gradient_underflow,
    learning_rate_too_high,
    missing_gradient,
    non_finite,
    stalled_layers,
    vanishing_gradients,
)
from gradscope.record.finding import Severity
from gradscope.record.grid import Floats
from gradscope.training.config import load_config
from gradscope.training.loop import train
from tests.detect.made import DEPTH, HEALTHY, STEPS, STUCK, Made

CONFIGS = Path(__file__).parents[3] / "configs"
BELOW, ABOVE = 0.99, 1.01
WIDE = 100_000
"""Units of a layer so wide that chance alone moves no gradient."""


def back(ratio: float, at: int = 0) -> Floats:
    """Level gradients, but for one layer that has ``ratio`` of the last hidden one's."""
    values = np.full((STEPS, DEPTH), 0.3)
    values[:, at] *= ratio
    return values


def through_time(ratio: float, times: int = 20) -> Floats:
    """The norm falls or grows evenly from the last time step to the first, which has ``ratio`` of it."""
    return np.broadcast_to(ratio ** (np.arange(times)[::-1] / (times - 1)), (STEPS, times)).copy()


# ---- GS101


def test_a_gradient_that_dies_towards_the_input_vanishes_and_the_layers_that_it_misses_are_named() -> None:
    run = STUCK.but(backward=0.3 * 0.1 ** np.arange(DEPTH)[::-1])
    (finding,) = run.findings("GS101")
    assert finding.severity is Severity.ERROR
    assert finding.layers == ("layers.0", "layers.2", "layers.4", "layers.6")
    assert finding.value == pytest.approx(1e-6)
    assert finding.steps == (0, STEPS - 1)
    assert finding.confidence > 0.9


def test_the_same_profile_in_a_run_that_learned_is_healthy() -> None:
    assert not HEALTHY.but(backward=0.3 * 0.1 ** np.arange(DEPTH)[::-1]).findings("GS101")


def test_vanishing_turns_at_a_hundredth() -> None:
    ratio = vanishing_gradients.RATIO.value
    assert STUCK.but(width=WIDE, backward=back(BELOW * ratio)).says("GS101")
    assert not STUCK.but(width=WIDE, backward=back(ABOVE * ratio)).says("GS101")


def test_one_layer_receives_and_several_receive_next_to_nothing() -> None:
    (one,) = STUCK.but(width=WIDE, backward=back(0.003)).findings("GS101")
    assert f"is 0.003 of that at layers.12, the last hidden layer: 1 of {DEPTH - 1} layers receives" in one.message
    (several,) = STUCK.but(backward=0.3 * 0.1 ** np.arange(DEPTH)[::-1]).findings("GS101")
    assert f"is 1e-6 of that at layers.12, the last hidden layer: 4 of {DEPTH - 1} layers receive next" in several.message


def test_in_a_narrow_net_chance_alone_makes_as_small_a_gradient() -> None:
    assert not STUCK.but(width=2, backward=back(0.005)).says("GS101")
    assert STUCK.but(width=2, backward=back(1e-9)).says("GS101")


def test_a_gradient_that_comes_back_has_not_vanished() -> None:
    values = back(1e-3)
    values[int(0.7 * STEPS) :] = 0.3
    assert not STUCK.but(backward=values).says("GS101")


def falling_from(step: int, *, level: float = 0.3) -> Floats:
    """Level gradients up to a step, and within three steps a thousandth of them in the lower half of the layers."""
    values = np.full((STEPS, DEPTH), level)
    values[step:, : DEPTH // 2] *= np.maximum(0.1 ** np.arange(1, STEPS - step + 1), 1e-3)[:, None]
    return values


@pytest.mark.parametrize(("update", "first"), [(BELOW, "GS101"), (ABOVE, "GS304")])
def test_of_a_gradient_that_was_level_until_a_large_update_the_learning_rate_is_the_first_cause(
    update: float, first: str
) -> None:
    updates = np.where(np.arange(STEPS) == 8, update * learning_rate_too_high.UNSTABLE.value, 1e-3)
    run = STUCK.but(width=WIDE, backward=falling_from(9)).having(relative_update=updates)
    assert run.says("GS101") == (first == "GS101")
    assert run.says("GS304") == (first == "GS304")
    (finding,) = run.findings("GS101")
    assert (finding.cause_code == "GS304") == (first == "GS304")
    assert finding.cause is not None
    assert "level at step 0" in finding.cause


def test_an_update_long_before_the_gradient_fell_is_not_its_cause_nor_one_after() -> None:
    for at in (2, 30):
        updates = np.where(np.arange(STEPS) == at, 0.15, 1e-3)
        run = STUCK.but(width=WIDE, backward=falling_from(9)).having(relative_update=updates)
        assert run.says("GS101")
        assert not run.says("GS304")


def test_a_gradient_that_had_vanished_before_the_first_update_is_none_of_its_doing() -> None:
    updates = np.where(np.arange(STEPS) == 0, 0.15, 1e-3)
    run = STUCK.but(width=WIDE, backward=back(1e-3)).having(relative_update=updates)
    assert run.says("GS101")
    assert not run.says("GS304")
    (finding,) = run.findings("GS101")
    assert "level" not in (finding.cause or "")


def test_a_head_that_starts_at_0_does_not_make_the_first_step_level() -> None:
    values = back(1e-3)
    values[0] = 0.0
    updates = np.where(np.arange(STEPS) == 0, 0.15, 1e-3)
    assert STUCK.but(width=WIDE, backward=values).having(relative_update=updates).says("GS101")


def test_a_post_norm_transformer_at_ten_times_its_learning_rate_has_too_high_a_learning_rate() -> None:
    changes = ["model.norm_first=false", "model.layers=6", "training.steps=60", "record.every={layers: 1, parameters: 1}"]

    def said(rate: float) -> set[str]:
        config = load_config(CONFIGS / "experiments" / "15-pre-norm" / "config.yaml", [*changes, f"optimizer.lr={rate}"])
        return {f.rule for f in check(train(config)).findings if f.severity is not Severity.INFO}

    assert "learning-rate-too-high" in said(0.03)
    assert "vanishing-gradients" not in said(0.03)
    assert said(0.003) == set()


def test_the_scale_of_the_read_out_is_not_the_depth_of_the_network() -> None:
    """The last layer's weights times a thousandth leave the hidden layers level with each other."""
    values = np.full((STEPS, DEPTH), 3e-4)
    values[:, -1] = 0.3
    assert not STUCK.but(backward=values).says("GS101")


def test_a_mild_fall_in_a_short_run_waits_and_a_hopeless_one_does_not() -> None:
    short = Made(steps=8, learns=False)
    assert not short.but(backward=back(1e-3)[:8]).says("GS101")
    assert short.but(backward=back(1e-7)[:8]).says("GS101")


def test_a_gradient_of_exactly_0_is_underflow_and_not_a_missing_value() -> None:
    values = np.full((STEPS, DEPTH), 0.3)
    values[:, :3] = 0.0
    (finding,) = STUCK.but(backward=values, activation="two-sided").findings("GS101")
    assert finding.value == 0.0
    assert finding.layers == ("layers.0", "layers.2", "layers.4")


def test_a_gradient_of_0_behind_a_blocked_rectifier_is_dead_units() -> None:
    values = np.full((STEPS, DEPTH), 0.3)
    values[:, :3] = 0.0
    share = np.full((STEPS, DEPTH - 1), 0.05)
    share[:, 2] = 1.0
    run = STUCK.but(backward=values, share=share)
    assert not run.says("GS101")
    assert run.says("GS201")


def test_saturation_explains_the_vanishing_that_happens_at_it() -> None:
    values = np.full((STEPS, DEPTH), 0.3)
    values[:, :3] = 1e-5
    share = np.full((STEPS, DEPTH - 1), 0.05)
    share[:, 2] = 0.9
    run = STUCK.but(backward=values, share=share, activation="two-sided")
    (finding,) = run.findings("GS101")
    assert finding.severity is Severity.INFO
    assert finding.cause_code == "GS202"
    assert run.says("GS202")


def test_a_gradient_dies_through_time_up_to_a_named_time_step() -> None:
    (finding,) = STUCK.but(times=through_time(1e-8)).findings("GS101")
    assert finding.layers == ("layers.0",)
    assert finding.timesteps is not None
    assert finding.timesteps[0] == 0
    assert 10 < finding.timesteps[1] < 16  # 1e-2 of 1e-8 over 19 steps


def test_forgetting_in_a_run_that_learned_is_how_cells_work() -> None:
    assert not HEALTHY.but(times=through_time(1e-8)).says("GS101")


def test_forgetting_is_no_verdict_where_nothing_tells_whether_the_run_learned() -> None:
    """A loss without a zero whose gradient is the output itself, as a likelihood of latent variables has it."""
    latent = {"loss": np.linspace(2.0, -3.0, STEPS), "output_correlation": np.ones(STEPS)}
    run = STUCK.but(times=through_time(1e-8))
    assert run.having(loss=latent["loss"]).says("GS101")
    assert not run.having(**latent).says("GS101")


def test_vanishing_through_time_turns_at_a_hundredth() -> None:
    assert STUCK.but(times=through_time(BELOW * 1e-2)).says("GS101")
    assert not STUCK.but(times=through_time(ABOVE * 1e-2)).says("GS101")


def test_where_the_loss_reads_every_time_step_only_a_run_that_moved_and_learned_nothing_counts() -> None:
    direct = STUCK.but(times=through_time(1e-8), reads=5.0)
    assert direct.says("GS101")
    still = direct.having(displacement_norm=np.full(STEPS, 1e-3))
    falling = direct.having(loss=np.linspace(2.3, 2.0, STEPS))
    assert not still.says("GS101")
    assert not falling.says("GS101")


# ---- GS102


def test_a_gradient_that_grows_towards_the_input_explodes() -> None:
    (finding,) = STUCK.but(backward=0.3 * 10.0 ** np.arange(DEPTH)[::-1]).findings("GS102")
    assert finding.severity is Severity.ERROR
    assert finding.value == pytest.approx(1e6)
    assert finding.layers == ("layers.0", "layers.2", "layers.4", "layers.6")


def test_the_same_growth_in_a_run_that_learned_is_healthy() -> None:
    assert not HEALTHY.but(backward=0.3 * 10.0 ** np.arange(DEPTH)[::-1]).findings("GS102")


def test_exploding_turns_at_a_hundredfold() -> None:
    ratio = exploding_gradients.RATIO.value
    assert STUCK.but(width=WIDE, backward=back(ABOVE * ratio)).says("GS102")
    assert not STUCK.but(width=WIDE, backward=back(BELOW * ratio)).says("GS102")


def test_growth_that_came_with_training_is_not_the_network_s() -> None:
    values = back(1e6)
    values[:3] = 0.3
    assert not STUCK.but(backward=values).says("GS102")


def test_growth_after_an_update_as_large_as_the_weights_is_the_learning_rate_s_doing() -> None:
    values = back(1e6)
    values[0] = 0.3
    thrown = np.full(STEPS, 1e-3)
    thrown[0] = 1.0
    run = STUCK.but(backward=values)
    assert run.says("GS102")
    assert not run.having(relative_update=thrown).says("GS102")
    assert run.having(relative_update=thrown).says("GS304")


def test_an_explosion_explains_the_large_update() -> None:
    thrown = np.full(STEPS, 1e-3)
    thrown[0] = 1.0
    run = STUCK.but(backward=back(1e6)).having(relative_update=thrown)
    (finding,) = run.findings("GS304")
    assert finding.severity is Severity.INFO
    assert finding.cause_code == "GS102"


def test_a_gradient_explodes_through_time() -> None:
    (finding,) = STUCK.but(times=through_time(1e6)).findings("GS102")
    assert finding.layers == ("layers.0",)
    assert finding.timesteps is not None
    assert finding.timesteps[0] == 0
    assert not HEALTHY.but(times=through_time(1e6)).findings("GS102")


def test_a_gradient_that_overflows_to_infinity_explodes_and_is_not_finite() -> None:
    values = np.full((STEPS, DEPTH), np.nan)
    values[0] = [np.inf, np.inf, 1e30, 1e20, 1e10, 1e5, 0.3, 0.3]
    loss = np.full(STEPS, np.nan)
    loss[0] = 2.3
    total = np.full(STEPS, np.nan)
    total[0] = np.inf
    run = STUCK.but(backward=values).having(loss=loss, total_norm=total)
    assert run.says("GS102")
    (finding,) = run.findings("GS103")
    assert finding.steps[0] == 0
    assert finding.cause_code == "GS102"
    assert finding.state == "inf"


# ---- GS103


def test_the_first_layer_whose_output_is_not_finite_is_named() -> None:
    loss, ahead = 2.3 * np.ones(STEPS), np.full((STEPS, DEPTH), 8.0)
    loss[40:], ahead[40:, 3:] = np.nan, np.nan
    (finding,) = STUCK.but(forward=ahead).having(loss=loss).findings("GS103")
    assert finding.severity is Severity.ERROR
    assert finding.layers == ("layers.6",)
    assert finding.steps == (40, STEPS - 1)
    assert "forward" in finding.message


def test_a_loss_function_that_overflows_is_told_from_the_network() -> None:
    loss = 2.3 * np.ones(STEPS)
    loss[40:] = np.inf
    (finding,) = STUCK.having(loss=loss).findings("GS103")
    assert "loss function" in finding.message


def test_a_backward_pass_that_divides_by_0_is_named_by_its_last_layer() -> None:
    values, total = np.full((STEPS, DEPTH), 0.3), np.ones(STEPS)
    values[40:, :5], total[40:] = np.nan, np.nan
    loss = 2.3 * np.ones(STEPS)
    loss[41:] = np.nan
    (finding,) = STUCK.but(backward=values).having(loss=loss, total_norm=total).findings("GS103")
    assert finding.layers == ("layers.8",)
    assert "backward" in finding.message


def test_one_bad_step_that_a_run_outlives_is_a_warning_and_a_skipped_step_nothing() -> None:
    loss = HEALTHY.run.grid("steps", "loss").values[:, 0].copy()
    loss[10] = np.nan
    (finding,) = HEALTHY.having(loss=loss).findings("GS103")
    assert finding.severity is Severity.WARNING
    total, skipped = np.ones(STEPS), np.zeros(STEPS)
    total[10], skipped[10] = np.inf, 1.0
    assert not HEALTHY.having(total_norm=total, skipped=skipped).findings("GS103")


def test_the_largest_number_is_a_number_still() -> None:
    largest = np.ones(STEPS)
    largest[10] = non_finite.LARGEST.value
    assert not HEALTHY.having(total_norm=largest).findings("GS103")
    with np.errstate(over="ignore"):
        largest[10] = np.float32(largest[10]) * np.float32(2.0)
    assert HEALTHY.having(total_norm=largest).findings("GS103")
    assert not HEALTHY.findings("GS103")


# ---- GS104


def test_float16_gradients_below_its_smallest_number_underflow_and_turn_there() -> None:
    smallest = gradient_underflow.SMALLEST.value
    entries = np.sqrt(64 * 10.0)  # of the last layer; the others have more
    low, high = (np.full((STEPS, DEPTH), f * smallest * entries) for f in (BELOW, 10.0))
    half = STUCK.but(dtype="float16")
    assert half.but(backward=low).says("GS104")
    assert not half.but(backward=high).says("GS104")
    assert not STUCK.but(backward=low).says("GS104")  # float32
    assert not HEALTHY.but(dtype="float16", backward=low).says("GS104")


def test_a_loss_scale_lifts_float16_gradients() -> None:
    low = np.full((STEPS, DEPTH), 1e-9)
    assert STUCK.but(dtype="float16", backward=low).says("GS104")
    assert not STUCK.but(dtype="float16", backward=low).having(loss_scale=2.0**16).says("GS104")


# ---- GS105


def test_a_trainable_parameter_without_any_gradient_is_missing_one_and_a_frozen_one_is_not() -> None:
    (finding,) = HEALTHY.but(without=("layers.4.weight", "layers.4.bias")).findings("GS105")
    assert (finding.signal, finding.value) == ("steps_without_gradient", 64.0)
    assert finding.layers == ("layers.4.weight", "layers.4.bias")
    assert finding.message.endswith(
        "and 1 more never got a gradient in 64 recorded steps: no loss that was seen depends on them."
    )
    frozen = ("layers.4.weight", "layers.4.bias")
    assert not HEALTHY.but(without=frozen, frozen=frozen).findings("GS105")
    assert not HEALTHY.findings("GS105")


def test_a_few_steps_without_a_gradient_say_nothing_yet() -> None:
    enough = int(missing_gradient.SEEN.value)
    assert not Made(steps=enough - 1, without=("layers.4.weight",)).findings("GS105")
    assert Made(steps=enough, without=("layers.4.weight",)).findings("GS105")


# ---- GS106


def test_a_layer_whose_updates_are_nothing_stalls_and_turns_at_a_thousandth() -> None:
    ratio = np.full((STEPS, DEPTH), 1e-3)

    def slow(factor: float) -> Made:
        return STUCK.but(update_ratio=np.where(np.arange(DEPTH) == 2, factor * ratio, ratio))

    limit = stalled_layers.RATIO.value
    (finding,) = slow(BELOW * limit).findings("GS106")
    assert finding.layers == ("layers.4",)
    assert "Updates of layers.4, relative" in finding.message
    assert "it stands still while others move" in finding.message
    assert not slow(ABOVE * limit).findings("GS106")
    assert not slow(1e-6).but(learns=True).findings("GS106")


def test_a_vanishing_gradient_explains_layers_that_stall() -> None:
    ratio = np.where(np.arange(DEPTH) < 3, 1e-9, 1e-3)
    run = STUCK.but(backward=0.3 * 0.1 ** np.arange(DEPTH)[::-1], update_ratio=ratio)
    (finding,) = run.findings("GS106")
    assert finding.severity is Severity.INFO
    assert finding.cause_code == "GS101"
    assert "Updates of layers.0 and 2 more" in finding.message
    assert "they stand still while others move" in finding.message
