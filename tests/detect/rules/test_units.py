"""GS201 to GS203: each fires, keeps silent on the healthy twin, and turns at its threshold."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.detect.rules import dead_units, saturated_activations, unscaled_input
from gradscope.record.finding import Severity
from gradscope.record.grid import Floats
from tests.detect.made import DEPTH, HEALTHY, STEPS, STUCK, Made

SIGMOIDS = STUCK.but(activation="two-sided")


def share(value: float, at: int = 2, usual: float = 0.05) -> Floats:
    values = np.full((STEPS, DEPTH - 1), usual)
    values[:, at] = value
    return values


# ---- GS201


def test_a_layer_of_dead_units_is_named_whatever_the_run_achieved() -> None:
    for run in (STUCK, HEALTHY):
        (finding,) = run.but(share=share(0.95)).findings("GS201")
        assert finding.severity is Severity.WARNING
        assert finding.layers == ("layers.5",)
        assert finding.value == pytest.approx(0.95)
    assert not HEALTHY.findings("GS201")
    assert not STUCK.findings("GS201")


def test_a_dead_layer_turns_at_nine_in_ten() -> None:
    assert STUCK.but(share=share(1.01 * dead_units.LAYER.value)).says("GS201")
    assert not STUCK.but(share=share(0.99 * dead_units.LAYER.value)).says("GS201")


@pytest.mark.parametrize("rows", [1, 4, 16])
def test_in_a_small_batch_units_that_fire_seldom_are_not_taken_for_dead(rows: int) -> None:
    """Drawn: 64 units that each fire for one input in fifty, and as many of which nine in ten never do."""
    draw = np.random.default_rng(0)
    fires = draw.random((STEPS, DEPTH - 1, rows, 64)) < 0.02
    sparse = ~fires.any(axis=2)
    dead = sparse | (np.arange(64) < 58 + rows // 4)
    assert not HEALTHY.but(share=sparse.mean(axis=2), rows=rows).says("GS201")
    assert HEALTHY.but(share=np.where(np.arange(DEPTH - 1) == 2, np.maximum(dead.mean(axis=2), 1.0), 0.1), rows=rows).says(
        "GS201"
    )


def test_half_of_all_units_is_too_many_in_a_run_that_has_not_learned() -> None:
    assert STUCK.but(share=0.5).says("GS201")
    assert not STUCK.but(share=0.49).says("GS201")
    assert not HEALTHY.but(share=0.6).says("GS201")


def test_units_that_fire_again_at_the_end_were_not_dead() -> None:
    values = share(1.0)
    values[-STEPS // 4 - 1 :] = 0.05
    assert not STUCK.but(share=values).says("GS201")


def test_silence_in_a_batch_of_one_row_is_no_death() -> None:
    assert not STUCK.but(share=0.55, rows=1).says("GS201")
    assert not STUCK.but(share=share(0.95), rows=1).says("GS201")
    assert STUCK.but(share=share(1.0), rows=1).says("GS201")


def test_a_large_update_that_came_before_is_the_cause() -> None:
    values, thrown = share(1.0), np.full(STEPS, 1e-3)
    values[:5], thrown[4] = 0.05, 0.8
    (finding,) = STUCK.but(share=values).having(relative_update=thrown).findings("GS201")
    assert finding.cause_code == "GS304"


def test_what_a_broken_run_left_behind_is_information() -> None:
    values, loss = share(1.0), np.full(STEPS, np.nan)
    values[:5], loss[:40] = 0.05, 2.3
    (finding,) = STUCK.but(share=values).having(loss=loss).findings("GS201")
    assert finding.severity is Severity.INFO


# ---- GS202


def test_saturation_from_the_first_step_on_is_named_whatever_the_run_achieved() -> None:
    for run in (SIGMOIDS, SIGMOIDS.but(learns=True)):
        (finding,) = run.but(share=share(0.9)).findings("GS202")
        assert finding.layers == ("layers.5",)
        assert finding.value == pytest.approx(0.9)
    assert not SIGMOIDS.findings("GS202")


def test_a_network_that_was_right_from_the_first_step_on_may_be_sure_of_it() -> None:
    """The output's correlation with its own gradient at the first step: chance reaches 3 / sqrt(64 x 10 entries)."""
    sure = SIGMOIDS.but(share=share(0.9))
    for factor, severity in ((1.01, Severity.INFO), (0.99, Severity.WARNING)):
        correlation = np.full(STEPS, -factor * 3.0 / np.sqrt(64 * 10))
        assert sure.having(output_correlation=correlation).findings("GS202")[0].severity is severity


def test_saturation_turns_at_half_of_the_entries() -> None:
    limit = saturated_activations.SHARE.value
    assert SIGMOIDS.but(share=share(1.01 * limit)).says("GS202")
    assert not SIGMOIDS.but(share=share(0.99 * limit)).says("GS202")


def test_saturation_that_came_with_learning_is_confidence_and_without_it_is_not() -> None:
    values = share(0.9)
    values[: STEPS // 4] = 0.05
    assert not SIGMOIDS.but(share=values, learns=True).says("GS202")
    assert SIGMOIDS.but(share=values).says("GS202")


def test_where_nothing_saturates_there_is_no_saturation() -> None:
    assert not STUCK.but(share=share(0.95)).findings("GS202")


# ---- GS203


def test_inputs_of_100_are_unscaled_and_explain_the_saturation() -> None:
    ahead = np.full((STEPS, DEPTH), 8.0)
    ahead[:, 0] = 8000.0  # of 64 rows: pre-activations of 1000 a row, for weights of norm 8 over 64 units
    run = SIGMOIDS.but(forward=ahead, share=share(0.95, at=0))
    (finding,) = run.findings("GS203")
    assert finding.value == pytest.approx(1000.0, rel=1e-3)
    assert run.findings("GS202")[0].cause_code == "GS203"
    assert not HEALTHY.findings("GS203")


def test_unscaled_inputs_turn_at_ten() -> None:
    def scaled(scale: float) -> Made:
        ahead = np.full((STEPS, DEPTH), 8.0)
        ahead[:, 0] = 8.0 * scale
        return STUCK.but(forward=ahead)

    limit = unscaled_input.SCALE.value
    assert scaled(1.01 * limit).says("GS203")
    assert not scaled(0.99 * limit).says("GS203")


def test_a_run_that_learned_from_unscaled_inputs_is_told_so() -> None:
    ahead = np.full((STEPS, DEPTH), 8000.0)
    (finding,) = HEALTHY.but(forward=ahead).findings("GS203")
    assert finding.severity is Severity.INFO
