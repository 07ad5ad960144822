import numpy as np
import pytest

from gradscope.signals.events import Series, at_end, broke_at, events, series, spike_scores
from gradscope.signals.states import State
from tests import synthetic
from tests.signals.makers import chain

NAN, INF = float("nan"), float("inf")


def of(values) -> Series:
    values = np.asarray(values, float)
    return Series("loss", np.arange(len(values)), values, np.ones(len(values), bool))


def naive(values) -> list[float]:
    """The definition, one value at a time."""
    scores, before = [], []
    for value in values:
        if not (np.isfinite(value) and value > 0):
            scores.append(NAN)
            continue
        log, window = np.log(value), before[-50:]
        if len(window) >= 10:
            middle = np.median(window)
            spread = max(1.4826 * np.median(np.abs(np.array(window) - middle)), 0.15)
            scores.append((log - middle) / spread)
        else:
            scores.append(NAN)
        before.append(log)
    return scores


def test_spike_scores_are_what_the_definition_says():
    draw = np.random.default_rng(0)
    values = np.exp(np.cumsum(0.3 * draw.standard_normal(300)))
    values[[40, 170]] = [NAN, 0.0]
    values[220] *= 100.0
    assert spike_scores(of(values)) == pytest.approx(naive(values), nan_ok=True)


def test_a_long_series_is_scored_like_a_short_one(monkeypatch):
    values = of(np.exp(np.random.default_rng(5).standard_normal(500)))
    whole = spike_scores(values)
    monkeypatch.setattr("gradscope.signals.events.CHUNK", 7)
    assert spike_scores(values) == pytest.approx(whole, nan_ok=True)


@pytest.mark.parametrize("count", [0, 1, 10, 11, 49, 50, 51, 52])
def test_spike_scores_of_short_series_are_those_of_the_definition(count):
    values = np.exp(np.random.default_rng(count).standard_normal(count))
    assert spike_scores(of(values)) == pytest.approx(naive(values), nan_ok=True)


def test_a_bad_batch_is_a_spike_at_its_own_step_and_a_falling_loss_is_none():
    draw = np.random.default_rng(1)
    loss = synthetic.falling(300, draw)
    assert not (spike_scores(of(loss)) > 6.0).any()
    loss[150] *= 50.0
    assert np.flatnonzero(spike_scores(of(loss)) > 6.0).tolist() == [150]


def test_spikes_do_not_depend_on_the_losss_scale():
    loss = synthetic.falling(200, np.random.default_rng(2))
    assert spike_scores(of(loss * 1e-4)) == pytest.approx(spike_scores(of(loss)), nan_ok=True)


def test_a_skipped_step_is_no_broken_one():
    run = chain(
        steps={
            "loss": [1.0, 1.0, 1.0, NAN, 1.0],
            "total_norm": [1.0, INF, INF, 1.0, None],
            "skipped": [0.0, 1.0, 0.0, 0.0, None],
            "clip_coefficient": [None, None, 0.5, 1.0, 0.1],
        }
    )
    found = events(run)
    assert found.skipped.tolist() == [1]
    assert found.nonfinite.tolist() == [2, 3]
    assert found.clipped.tolist() == [2, 4]
    assert found.spikes.tolist() == []


def test_events_of_an_exploding_run_name_the_step_at_which_it_broke():
    found = events(synthetic.exploding(10, 200, breaks=120))
    assert found.nonfinite.tolist() == list(range(120, 200))
    assert found.spikes.size
    assert found.spikes.max() < 120


def test_a_series_keeps_what_is_absent_apart_from_what_is_nan():
    loss = series(chain(steps={"loss": [1.0, None, NAN]}), "loss")
    assert loss.states.tolist() == [State.FINITE, State.ABSENT, State.NAN]
    assert loss.measured.steps.tolist() == [0, 2]


def test_a_run_broke_where_its_loss_was_never_finite_again():
    assert broke_at(chain(steps={"loss": [1.0, NAN, 1.0, NAN, INF]})) == 3
    assert broke_at(chain(steps={"loss": [NAN, NAN]})) == 0
    assert broke_at(chain(steps={"loss": [NAN, 1.0]})) is None
    assert broke_at(synthetic.empty()) is None


def test_upto_keeps_the_step_itself():
    loss = series(chain(steps={"loss": [3.0, 2.0, 1.0]}), "loss")
    assert loss.upto(1).values.tolist() == [3.0, 2.0]
    assert loss.upto(9).values.tolist() == [3.0, 2.0, 1.0]


def test_a_run_without_steps_has_empty_series_and_no_events():
    run = synthetic.empty()
    assert series(run, "loss").empty
    assert not any(getattr(events(run), kind).size for kind in ("skipped", "clipped", "spikes", "nonfinite"))


def test_the_end_of_a_series_is_the_median_of_its_last_fifth_and_of_one_that_broke_its_last_value() -> None:
    assert at_end(of([9.0] * 8 + [1.0, 3.0])) == 2.0
    assert at_end(of([9.0] * 12 + [NAN, 1.0, 3.0])) == 2.0
    assert at_end(of([5.0, 4.0])) == 4.0
    assert at_end(of([1.0] * 9 + [INF])) == INF
    assert np.isnan(at_end(of([1.0, NAN])))
    assert at_end(of([])) is None
