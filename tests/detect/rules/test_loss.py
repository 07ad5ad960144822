"""GS301 to GS305: each fires, keeps silent on the healthy twin, and turns at its threshold."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.detect.case import THROWN
from gradscope.detect.rules import clipping_always_on, learning_rate_too_high, loss_instability, slow_learning
from gradscope.record.finding import Severity
from gradscope.record.grid import Floats
from gradscope.signals import instability
from tests.detect.made import HEALTHY, STEPS, STUCK, Made, learned

LONG = Made(steps=200)


def excursions(height: float, length: int = 10, at: tuple[int, ...] = (60, 120, 170)) -> Floats:
    """A loss at 1 that stands at ``height`` for some steps, several times."""
    loss = np.ones(200)
    for start in at:
        loss[start : start + length] = height
    return loss


SLOW = STUCK.having(
    displacement_norm=np.linspace(0.0, 1e-3, STEPS),
    update_norm=np.full(STEPS, 1e-3 / STEPS),
    grad_cosine=np.full(STEPS, 0.5),
    output_offset=np.full(STEPS, 0.5),
)


# ---- GS301


def test_a_loss_that_is_won_and_lost_again_is_unstable() -> None:
    (finding,) = LONG.but(learns=False).having(loss=excursions(10.0)).findings("GS301")
    assert finding.steps[0] >= 60
    assert "10" in finding.message
    assert not LONG.findings("GS301")
    assert not LONG.but(learns=False).findings("GS301")


def test_instability_measures_a_share_of_the_steps_against_the_share_that_so_many_excursions_may_take() -> None:
    stuck = LONG.but(learns=False)
    for at, length in (((60, 120), 20), ((60,), 60)):
        (finding,) = stuck.having(loss=excursions(10.0, length=length, at=at)).findings("GS301")
        assert finding.signal == "unstable_share"
        levels = 200 - 9  # the first is that of the second five steps; a median of five is as long above as what it follows
        assert finding.value == pytest.approx(len(at) * length / levels, rel=1e-12)
        assert finding.threshold == (loss_instability.SHARE if len(at) > 1 else loss_instability.LONG).value


def test_instability_turns_at_three_times_the_best() -> None:
    limit, stuck = loss_instability.FACTOR.value, LONG.but(learns=False)
    assert stuck.having(loss=excursions(1.01 * limit)).says("GS301")
    assert not stuck.having(loss=excursions(0.99 * limit)).says("GS301")


def test_hard_batches_alone_are_no_instability() -> None:
    assert not LONG.but(learns=False).having(loss=excursions(50.0, length=2, at=tuple(range(20, 200, 10)))).says("GS301")


def test_what_a_converged_run_loses_on_its_own_scale_does_not_count() -> None:
    loss = learned(200, end=1e-4) ** 3
    loss[120:] *= np.tile(np.repeat([1.0, 30.0], 10), 4)
    assert not LONG.having(loss=loss).says("GS301")


def test_an_early_overshoot_that_a_run_overcame_did_no_harm() -> None:
    loss = learned(200)
    loss[10:60] = 20.0
    assert not LONG.having(loss=loss).says("GS301")


@pytest.mark.parametrize(("spread", "speaks"), [(0.005, True), (0.25, False)])
def test_in_a_run_that_learned_a_level_that_batches_alone_can_make_is_none(spread: float, speaks: bool) -> None:
    loss = np.where(np.arange(200) < 100, np.linspace(2.0, -1.2, 200), 0.4)
    loss += np.random.default_rng(0).normal(0.0, spread, 200)
    loss[110:120], loss[140:155], loss[170:185] = 0.15, 0.72, 0.72
    loss = np.maximum(loss, 0.15)
    found = instability.excursions(LONG.having(loss=loss).run)
    assert found.beyond(loss_instability.FACTOR.value, loss_instability.RISE.value).mean() > loss_instability.SHARE.value
    assert LONG.having(loss=loss).says("GS301") is speaks


def test_noise_alone_stays_within_what_batches_make_of_a_level() -> None:
    """But for a few runs of a hundred, in which the neighbours of the best happen to lie close together."""
    beyond = []
    for seed in range(100):
        found = instability.excursions(LONG.having(loss=np.random.default_rng(seed).normal(5.0, 0.1, 200)).run)
        chance = found.chance(np.arange(len(found.steps)))
        beyond.append((found.level - found.best > chance).mean() >= loss_instability.SHARE.value)
    assert np.mean(beyond) <= 0.05


def test_a_loss_that_can_be_negative_is_judged_by_what_was_lost() -> None:
    falling = np.linspace(1.0, -5.0, 200)
    lost = falling.copy()
    lost[150:] = 10.0
    stuck = LONG.but(learns=False)
    assert not stuck.having(loss=falling).says("GS301")
    assert stuck.having(loss=lost).says("GS301")


def test_what_another_training_may_have_raised_is_told_and_not_held_against_this_one() -> None:
    alone = LONG.but(learns=False).having(loss=excursions(10.0), relative_update=np.full(200, 0.15))
    shared = alone.but(shared_loss=True)
    assert alone.says("GS301")
    assert alone.says("GS304")
    assert not shared.says("GS301")
    assert not shared.says("GS304")
    (told,) = shared.findings("GS301")
    assert told.value == alone.findings("GS301")[0].value
    assert "not watched" in told.message
    goes = np.append(np.ones(150), np.full(50, 2.5))
    assert LONG.having(loss=goes).says("GS302")
    assert not LONG.but(shared_loss=True).having(loss=goes).says("GS302")
    assert LONG.but(shared_loss=True).having(loss=goes).findings("GS302")


# ---- GS302


def test_a_spike_that_stays_is_a_warning_and_one_that_went_is_information() -> None:
    stays, goes = learned(200), learned(200)
    stays[190:] = 1.0
    goes[150:158] = 1.0
    (finding,) = LONG.having(loss=stays).findings("GS302")
    assert finding.severity is Severity.WARNING
    assert finding.steps[0] == 190
    (finding,) = LONG.having(loss=goes).findings("GS302")
    assert finding.severity is Severity.INFO
    assert not LONG.findings("GS302")


def test_a_single_hard_batch_is_no_spike() -> None:
    loss = learned(200)
    loss[150] = 5.0
    assert not LONG.having(loss=loss).findings("GS302")


def test_a_spike_turns_at_half_a_doubling() -> None:
    """The rise that counts is a quarter of the first loss, the level twice the best before."""
    base = np.full(200, 0.1)
    base[:3] = 1.0
    for height, speaks in ((0.36, True), (0.34, False)):
        loss = base.copy()
        loss[190:] = height
        assert LONG.having(loss=loss).says("GS302") is speaks


# ---- GS303


def test_weights_that_hardly_follow_a_steady_gradient_are_slow() -> None:
    (finding,) = SLOW.findings("GS303")
    assert finding.value == pytest.approx(1e-3 / (8.0 * np.sqrt(8.0)), rel=1e-2)
    assert not HEALTHY.findings("GS303")
    assert not STUCK.findings("GS303")


def test_slowness_turns_at_a_hundredth_of_the_weights() -> None:
    norm = float(np.linalg.norm(np.tile([8.0, 0.1], 8)))
    limit = slow_learning.DISPLACEMENT.value * norm
    for factor, speaks in ((0.99, True), (1.01, False)):
        way = factor * limit
        run = SLOW.having(displacement_norm=np.linspace(0.0, way, STEPS), update_norm=np.full(STEPS, way / STEPS))
        assert run.says("GS303") is speaks


def test_weights_that_do_not_move_at_all_are_no_healthy_run() -> None:
    still = {"displacement_norm": np.zeros(STEPS), "update_norm": np.zeros(STEPS)}
    (finding,) = SLOW.having(**still).findings("GS303")
    assert finding.value == 0.0
    assert "the optimizer holds other parameters than the model's" in finding.message
    assert not SLOW.having(**still, grad_cosine=np.zeros(STEPS)).says("GS303")


def test_a_gradient_that_is_cleared_before_the_step_is_told_from_one_that_is_clipped() -> None:
    cleared = SLOW.having(displacement_norm=np.zeros(STEPS), update_norm=np.zeros(STEPS), clip_coefficient=np.zeros(STEPS))
    (finding,) = cleared.findings("GS303")
    assert "something clears the gradient between the backward pass and the optimizer's step" in finding.message
    assert not cleared.says("GS305")


@pytest.mark.parametrize(
    "changed",
    [
        {"grad_cosine": np.zeros(STEPS)},
        {"update_norm": np.full(STEPS, 1.0)},
        {"output_offset": np.full(STEPS, 1 / 8), "grad_cosine": np.full(STEPS, 0.15)},
        {"output_offset": np.full(STEPS, 1 / 8), "total_norm": np.full(STEPS, 1e-3)},
        {"lr": np.linspace(0.0, 0.05, STEPS)},
    ],
    ids=["noise", "a random walk", "a converged start", "a minimum", "warming up"],
)
def test_a_run_that_stands_still_for_another_reason_is_not_slow(changed: dict[str, Floats]) -> None:
    assert not SLOW.having(**changed).says("GS303")


def test_an_output_whose_scale_is_still_wrong_is_untrained_too() -> None:
    chance = {"output_offset": np.full(STEPS, 1 / 8), "grad_cosine": np.full(STEPS, 0.15)}
    assert not SLOW.having(**chance).says("GS303")
    assert SLOW.having(**chance, output_correlation=np.full(STEPS, 0.2)).says("GS303")


@pytest.mark.parametrize(("column", "limit"), [("grad_cosine", slow_learning.AGREED.value), ("total_norm", None)])
def test_a_head_that_starts_small_shows_itself_by_what_there_is_to_win(column: str, limit: float | None) -> None:
    """Nothing is wrong with the output's offset or scale. It turns where batches disagree, and where nothing is to win."""
    settled = SLOW.having(output_offset=np.full(STEPS, 1 / 8), output_correlation=np.where(np.arange(STEPS) == 0, 0.0, -0.5))
    if limit is None:  # |g| sqrt(0.5) |w| 0.1 over the loss, 2.3, is a hundredth
        limit = slow_learning.OPEN.value * 2.3 / (np.sqrt(0.5) * 0.1 * np.sqrt(8 * (8.0**2 + 0.1**2)))
    assert settled.having(**{column: np.full(STEPS, 1.01 * limit)}).says("GS303")
    assert not settled.having(**{column: np.full(STEPS, 0.99 * limit)}).says("GS303")


def test_frozen_weights_do_not_make_the_trainable_ones_look_still() -> None:
    """All but the head frozen: its own way is long."""
    frozen = tuple(f"layers.{2 * i}.{part}" for i in range(7) for part in ("weight", "bias"))
    way = 0.02 * 8.0
    run = SLOW.having(displacement_norm=np.linspace(0.0, way, STEPS), update_norm=np.full(STEPS, way / STEPS))
    assert run.says("GS303")
    assert not run.but(frozen=frozen).says("GS303")


def test_a_vanishing_gradient_is_not_called_slow_as_well() -> None:
    run = SLOW.but(backward=0.3 * 0.1 ** np.arange(8)[::-1])
    assert run.says("GS101")
    assert not run.says("GS303")


# ---- GS304


def test_updates_as_large_as_the_weights_without_learning_are_a_rate_too_high() -> None:
    (finding,) = STUCK.having(relative_update=np.full(STEPS, 0.5)).findings("GS304")
    assert finding.severity is Severity.ERROR
    assert finding.value == pytest.approx(0.5)
    assert not HEALTHY.having(relative_update=np.full(STEPS, 0.5)).findings("GS304")
    assert not HEALTHY.findings("GS304")


def test_the_rate_turns_at_a_fifth_and_at_a_tenth_where_the_loss_is_unstable() -> None:
    for factor, speaks in ((1.01, True), (0.99, False)):
        calm = STUCK.having(relative_update=np.full(STEPS, factor * THROWN.value))
        wild = LONG.but(learns=False).having(
            loss=excursions(10.0), relative_update=np.full(200, factor * learning_rate_too_high.UNSTABLE.value)
        )
        assert calm.says("GS304") is speaks
        assert wild.says("GS304") is speaks


def test_a_run_that_broke_after_a_large_update_names_it_as_the_cause() -> None:
    loss, update = np.full(STEPS, np.nan), np.full(STEPS, np.nan)
    loss[:3], update[:3] = (2.3, 10.0, 1e20), (1.0, 1.0, 1.0)
    run = STUCK.having(loss=loss, relative_update=update)
    assert run.says("GS304")
    assert run.findings("GS103")[0].cause_code == "GS304"


def test_the_first_steps_of_a_run_are_no_verdict_on_its_rate() -> None:
    assert not Made(steps=10, learns=False).having(relative_update=np.full(10, 0.5)).says("GS304")


# ---- GS305


def test_clipping_in_every_step_is_information_and_hard_clipping_without_learning_a_warning() -> None:
    clipped = {"clip_coefficient": np.full(STEPS, 0.05)}
    assert HEALTHY.having(**clipped).findings("GS305")[0].severity is Severity.INFO
    assert STUCK.having(**clipped).findings("GS305")[0].severity is Severity.WARNING
    (mild,) = STUCK.having(clip_coefficient=np.full(STEPS, 0.5)).findings("GS305")
    assert (mild.severity, mild.signal, mild.value, mild.threshold) == (Severity.INFO, "clipped_share", 1.0, 0.95)
    assert not HEALTHY.findings("GS305")


def test_clipping_is_hard_from_a_tenth_of_the_norm_on() -> None:
    assert STUCK.having(clip_coefficient=np.full(STEPS, 0.1)).findings("GS305")[0].severity is Severity.INFO
    (hard,) = STUCK.having(clip_coefficient=np.full(STEPS, 0.099)).findings("GS305")
    assert (hard.severity, hard.signal, hard.threshold) == (Severity.WARNING, "clip_coefficient", 0.1)


def test_clipping_turns_where_one_step_in_twenty_is_free() -> None:
    run = Made(steps=400)
    often, seldom = np.full(400, 0.5), np.full(400, 0.5)
    often[::21], seldom[::19] = np.nan, np.nan
    assert clipping_always_on.SHARE.value == 0.95
    assert run.having(clip_coefficient=often).findings("GS305")
    assert not run.having(clip_coefficient=seldom).findings("GS305")
