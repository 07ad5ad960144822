"""What must not change a verdict: the loss's scale, how layers share their scale, the batch, more steps, frozen weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.detect.engine import check
from gradscope.record.finding import Finding, Report
from tests.detect.made import DEPTH, HEALTHY, STEPS, STUCK, Made, learned

TIMES = np.broadcast_to(1e-8 ** (np.arange(20)[::-1] / 19), (STEPS, 20))
THROWN = np.where(np.arange(STEPS) < 3, 0.9, 1e-3)
CASES: dict[str, Made] = {
    "healthy": HEALTHY,
    "vanishing": STUCK.but(backward=0.3 * 0.02 ** np.arange(DEPTH)[::-1]),
    "exploding": STUCK.but(backward=0.3 * 50.0 ** np.arange(DEPTH)[::-1]),
    "forgetting": STUCK.but(times=TIMES),
    "dead": STUCK.but(share=0.95),
    "saturated": STUCK.but(share=0.9, activation="two-sided"),
    "thrown": STUCK.having(relative_update=THROWN),
    "unstable": Made(steps=200, learns=False).having(loss=1.0 + 9.0 * (np.arange(200) // 20 % 2)),
    "slow": STUCK.having(
        displacement_norm=np.linspace(0.0, 1e-3, STEPS),
        update_norm=1e-3 / STEPS,
        grad_cosine=0.5,
        output_offset=0.5,
    ),
    "clipped": HEALTHY.having(clip_coefficient=0.05),
}
every_case = pytest.mark.parametrize("made", CASES.values(), ids=CASES)
decades = st.floats(-6.0, 6.0)


def essence(report: Report) -> list[tuple[object, ...]]:
    """What a reader acts on; numbers to a few digits."""
    return [_essence(f) for f in report.findings]


def _essence(f: Finding) -> tuple[object, ...]:
    return (f.code, f.severity, f.layers, f.steps, f.timesteps, f.cause_code, f.signal, f"{f.confidence:.3g}")


def loss_scaled(made: Made, factor: float) -> Made:
    back = made.backward if made.backward is not None else 0.3 * np.ones((made.steps, made.depth)) * made.residual[:, None]
    columns = {"loss": 2.3 * made.residual**2, "output_backward_norm": made.residual, **made.columns}
    for name in ("loss", "output_backward_norm"):
        columns[name] = factor * np.asarray(columns[name], float)
    return made.but(backward=factor * np.asarray(back), columns=columns)


@every_case
@settings(max_examples=20, deadline=None)
@given(exponent=decades)
def test_the_scale_of_the_loss_changes_nothing(made: Made, exponent: float) -> None:
    assert essence(check(loss_scaled(made, 10.0**exponent).run)) == essence(check(made.run))


@settings(max_examples=50, deadline=None)
@given(exponents=st.lists(st.floats(-3.0, 3.0), min_size=DEPTH - 1, max_size=DEPTH - 1))
def test_layers_rescaled_against_each_other_leave_a_healthy_run_healthy(exponents: list[float]) -> None:
    """Of a ReLU net, W_l c and W_(l+1) / c compute the same: the signal between grows by c, its gradient falls by c."""
    factors = 10.0 ** np.array([*exponents, 0.0])
    back = 0.3 * HEALTHY.residual[:, None] / factors
    ahead = np.clip(8.0 * factors, None, 60.0)  # inputs of 7 are the most that counts as scaled
    assert check(HEALTHY.but(backward=back, forward=ahead).run).verdict == "healthy"


@settings(max_examples=50, deadline=None)
@given(exponents=st.lists(st.floats(-2.0, 2.0), min_size=DEPTH - 1, max_size=DEPTH - 1))
def test_layers_rescaled_against_each_other_hide_no_vanishing(exponents: list[float]) -> None:
    factors = 10.0 ** np.array([*exponents, 0.0])
    back = 0.3 * 1e-2 ** np.arange(DEPTH)[::-1] / factors
    codes = {f.code for f in check(STUCK.but(backward=back).run).findings}
    assert "GS101" in codes


@every_case
@settings(max_examples=10, deadline=None)
@given(doublings=st.integers(1, 6))
def test_a_larger_batch_changes_nothing(made: Made, doublings: int) -> None:
    """Of a mean loss, each row's gradient is divided by the rows: norms over the batch fall with their root."""
    root = 2.0 ** (doublings / 2)
    back = made.backward if made.backward is not None else 0.3 * np.ones((made.steps, made.depth)) * made.residual[:, None]
    residual = np.asarray(made.columns.get("output_backward_norm", made.residual), float)
    larger = made.but(
        rows=made.rows * 2**doublings,
        backward=np.asarray(back) / root,
        forward=np.full((made.steps, made.depth), 8.0 * root),
        times=None if made.times is None else made.times,
    ).having(output_backward_norm=residual / root)
    assert essence(check(larger.run)) == essence(check(made.run))


@settings(max_examples=25, deadline=None)
@given(more=st.integers(1, 400), seed=st.integers(0, 1000), floor=st.floats(-6.0, -1.0))
def test_steps_after_convergence_change_nothing(more: int, seed: int, floor: float) -> None:
    """The loss and all gradients lie at a floor and are noise: small, and level still."""
    draw, steps = np.random.default_rng(seed), STEPS + more
    noise = np.exp(0.5 * draw.standard_normal(steps))
    noise[:STEPS] = 1.0
    residual = np.concatenate([learned(STEPS, end=10.0**floor), np.full(more, 10.0**floor)]) * noise
    made = Made(steps=steps, backward=0.3 * residual[:, None] * np.ones(DEPTH)).having(
        loss=2.3 * residual**2, output_backward_norm=residual
    )
    assert check(made.run).verdict == "healthy"


@every_case
@settings(max_examples=10, deadline=None)
@given(frozen=st.sets(st.integers(0, DEPTH - 2), max_size=3))
def test_frozen_parameters_change_nothing(made: Made, frozen: set[int]) -> None:
    """A frozen layer passes gradients on as before; it has none of its own, and does not move."""
    names = tuple(f"layers.{2 * i}.{part}" for i in sorted(frozen) for part in ("weight", "bias"))
    ratio = np.where([i in frozen for i in range(DEPTH)], 0.0, 1e-3)
    still = made.but(frozen=names, without=names, update_ratio=ratio)
    found, expected = essence(check(still.run)), essence(check(made.run))
    assert [f[:6] for f in found] == [f[:6] for f in expected]


def same(change: Callable[[Made], Made]) -> bool:
    return all(essence(check(change(made).run)) == essence(check(made.run)) for made in CASES.values())


def test_the_rate_alone_changes_nothing() -> None:
    """An optimizer enters by what it does to the weights, not by its numbers."""
    assert same(lambda made: made.having(lr=np.full(made.steps, 1e-9)))


def test_a_verdict_is_the_same_each_time() -> None:
    for made in CASES.values():
        assert check(made.run) == check(made.run)
