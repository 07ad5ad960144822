"""A run seen at fewer steps: the same values, evenly spread, and everything that a single step alone can tell."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gradscope.detect.engine import check
from gradscope.record import thinned
from gradscope.record.grid import NO_ENTITY, Block
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo
from gradscope.record.reader import load_run
from gradscope.record.sink import MemorySink, Sink
from gradscope.record.store import RunFolder
from gradscope.record.thinned import FIRST, ThinnedRun, evenly
from tests.detect.made import HEALTHY, STUCK, Made

LAYERS, STEPS, EVERY = 5, 1000, 7
MANIFEST = Manifest(
    "long",
    catalogue=Catalogue(
        tuple(LayerInfo(f"layers.{i}", "Linear", i, trunk=True) for i in range(LAYERS)),
        tuple(ParameterInfo(f"layers.{i}.weight", f"layers.{i}", (4, 4)) for i in range(LAYERS)),
    ),
)


@pytest.fixture(autouse=True)
def a_low_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a size that a test can make are long and deep."""
    monkeypatch.setattr(thinned, "MOST_VALUES", 500)
    monkeypatch.setattr(thinned, "FEWEST_STEPS", 20)


def recorded(sink: Sink) -> Sink:
    """Layers at each step, in two blocks; weights at every seventh, the norms of gradients between."""
    draw = np.random.default_rng(0)
    names = tuple((f"layers.{i}", 0) for i in range(LAYERS))
    weights = tuple((f"layers.{i}.weight", 0) for i in range(LAYERS))
    for at in np.split(np.arange(STEPS), 2):
        sink.append(Block("layers", at, names, {"backward_norm": draw.lognormal(size=(len(at), LAYERS))}))
        values = draw.lognormal(size=(len(at), LAYERS))
        known = np.broadcast_to((at % EVERY == 0)[:, None], values.shape)
        columns = {"grad_norm": values, "weight_norm": 2.0 * values, "frozen": np.zeros_like(values)}
        sink.append(Block("parameters", at, weights, columns, {"weight_norm": known, "frozen": known}))
        sink.append(Block("steps", at, NO_ENTITY, {"loss": draw.lognormal(size=(len(at), 1))}))
    return sink


@pytest.fixture(name="whole")
def _whole() -> MemorySink:
    sink = MemorySink(MANIFEST)
    recorded(sink)
    return sink


def test_steps_are_spread_evenly_and_the_first_and_the_last_are_among_them(whole: MemorySink) -> None:
    run = whole.run()
    grid, all_of_it = ThinnedRun(run).grid("layers", "backward_norm"), run.grid("layers", "backward_norm")
    assert len(grid.steps) == pytest.approx(100, abs=FIRST)
    assert grid.steps[:FIRST].tolist() == list(range(FIRST))
    assert grid.steps[-1] == STEPS - 1
    assert np.diff(grid.steps[FIRST:]).max() <= 11
    assert np.array_equal(grid.values, all_of_it.values[grid.steps])
    assert grid.entities == all_of_it.entities


def test_few_layers_have_their_share_of_steps_and_many_have_the_fewest() -> None:
    assert evenly(50, 100).tolist() == list(range(50))
    assert len(evenly(100_000, 256)) == 256 + FIRST - 1


def test_of_weights_the_steps_stand_that_read_them(whole: MemorySink) -> None:
    run = ThinnedRun(whole.run())
    assert run.grid("parameters", "weight_norm").present.all()
    assert (run.grid("parameters", "grad_norm").steps % EVERY == 0).all()


def test_what_comes_after_the_last_step_that_counts_is_left_out(whole: MemorySink) -> None:
    steps = ThinnedRun(whole.run(), until=300).grid("layers", "backward_norm").steps
    assert steps[-1] == 300
    assert len(steps) == pytest.approx(100, abs=FIRST)


def test_the_loss_a_layer_and_a_step_are_whole(whole: MemorySink) -> None:
    run = whole.run()
    few = ThinnedRun(run)
    seen = few.grid("layers", "backward_norm").steps
    assert few.grid("steps", "loss") == run.grid("steps", "loss")
    assert few.series("layers", "backward_norm", "layers.2") == run.series("layers", "backward_norm", "layers.2")
    for step in (int(seen[3]), next(s for s in range(STEPS) if s not in seen)):
        assert few.at("layers", "backward_norm", step) == run.at("layers", "backward_norm", step)
        assert len(few.at("layers", "backward_norm", step).steps) == 1


def test_what_was_read_before_is_not_read_again(tmp_path: Path) -> None:
    recorded(RunFolder.create(tmp_path / "run", MANIFEST)).close()
    run = load_run(tmp_path / "run")
    whole = run.grid("layers", "backward_norm")
    weights = ThinnedRun(run).grid("parameters", "weight_norm")
    steps = ThinnedRun(run).kept("layers")
    shutil.rmtree(tmp_path / "run")
    assert ThinnedRun(run).grid("parameters", "weight_norm") is weights
    assert ThinnedRun(run).grid("layers", "backward_norm") == whole.at(np.flatnonzero(np.isin(whole.steps, steps)))


def test_a_small_table_is_the_same_array_and_read_once(whole: MemorySink) -> None:
    run = whole.run()
    assert ThinnedRun(run).grid("steps", "loss") is run.grid("steps", "loss")
    healthy = HEALTHY.but(steps=10).run
    assert ThinnedRun(healthy).grid("layers", "backward_norm") is healthy.grid("layers", "backward_norm")


def test_a_loaded_run_is_seen_at_the_same_steps(whole: MemorySink, tmp_path: Path) -> None:
    recorded(store := RunFolder.create(tmp_path / "run", MANIFEST)).close()
    for loaded in (store.run(), load_run(tmp_path / "run")):
        for table, column in (("layers", "backward_norm"), ("parameters", "grad_norm"), ("parameters", "weight_norm")):
            assert ThinnedRun(loaded).grid(table, column) == ThinnedRun(whole.run()).grid(table, column)


@pytest.mark.parametrize("made", [HEALTHY, STUCK.but(backward=0.3 * 0.2 ** np.arange(8)[::-1])])
def test_a_verdict_does_not_turn_on_the_steps_that_are_left_out(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made.but(steps=400).run
    few = check(run)
    monkeypatch.setattr(thinned, "MOST_VALUES", 1 << 20)
    whole = check(run)
    assert [(f.code, f.layers, f.severity) for f in few.findings] == [(f.code, f.layers, f.severity) for f in whole.findings]
    assert few.verdict == whole.verdict


def test_a_gradient_that_came_once_between_the_steps_that_are_seen_is_not_missing() -> None:
    run = HEALTHY.but(steps=400, without=("layers.4.weight",)).run
    assert [f.layers for f in check(run).findings] == [("layers.4.weight",)]
    seen = ThinnedRun(run).grid("parameters", "grad_norm").steps
    between = next(s for s in range(400) if s not in seen)
    sink = MemorySink(run.manifest)
    for table in ("layers", "parameters", "steps"):
        for block in run._tables[table].blocks:  # type: ignore[attr-defined]
            sink.append(block)
    sink.append(Block("parameters", np.array([between]), (("layers.4.weight", 0),), {"grad_norm": np.ones((1, 1))}))
    assert not check(sink.run()).findings


def test_where_a_run_broke_for_a_single_step_is_found_wherever_that_was() -> None:
    made = HEALTHY.but(steps=400)
    at = next(s for s in range(400) if s not in ThinnedRun(made.run).grid("layers", "forward_norm").steps)
    loss, forward = 2.3 * made.residual**2, np.full((400, 8), 8.0)
    loss[at], forward[at, 3:] = np.nan, np.nan
    (found,) = made.but(forward=forward).having(loss=loss).findings("GS103")
    assert found.steps == (at, at)
    assert found.layers == ("layers.6",)
