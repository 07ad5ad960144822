from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from gradscope.errors import RecordLostWarning
from gradscope.record.grid import NO_ENTITY, Block, assemble
from gradscope.record.manifest import Status
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink
from gradscope.record.spill import SpillingSink
from tests.record.blocks import FINISHED, MANIFEST, recordings, store, training, values


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@settings(max_examples=50, deadline=None)
@given(blocks=recordings())
def test_joining_blocks_changes_no_value(blocks: list[Block]) -> None:
    sink = MemorySink(MANIFEST)
    store(sink, blocks)
    run = sink.run()
    for block in blocks:
        for column in block.columns:
            apart = assemble(column, [b for b in blocks if b.table == block.table])
            grid = run.grid(block.table, column)
            assert grid == apart.only(grid.entities)
            for name in grid.names:
                alone = assemble(column, [b.only(name) for b in blocks if b.table == block.table])
                assert run.series(block.table, column, name) == alone.only(sorted(alone.entities))


def test_many_small_blocks_are_kept_as_few_large_ones() -> None:
    sink = MemorySink(MANIFEST)
    for step in range(20_000):
        sink.append(Block("steps", np.array([step]), NO_ENTITY, {"loss": np.full((1, 1), float(step))}))
        if step % 7 == 0:
            sink.append(Block("steps", np.array([step]), NO_ENTITY, {"validation_loss": np.zeros((1, 1))}))
    kept = list(sink.blocks)
    assert len(kept) < 40
    assert sum(block.nbytes for block in kept) < 20_000 * 16 * 1.2
    assert sink.run().grid("steps", "loss").values[:, 0].tolist() == list(range(20_000))


def test_a_run_does_not_change_while_recording_goes_on() -> None:
    sink = MemorySink(MANIFEST)
    blocks = list(training(60))
    for block in blocks[:12]:
        sink.append(block)
    run = sink.run()
    for block in blocks[12:]:
        sink.append(block)
    assert run.step_count == 30
    assert sink.run().step_count == 60


def test_a_long_record_goes_to_a_temporary_folder_and_reads_the_same(temporary: Path) -> None:
    blocks = list(training(300))
    sink, memory = SpillingSink(MANIFEST, limit_bytes=50_000), MemorySink(MANIFEST)
    spilled = []
    for block in blocks:
        sink.append(block)
        memory.append(block)
        spilled.append(bool(list(temporary.iterdir())))
        if block.table == "timesteps":
            assert Run(MANIFEST, sink.run()._tables) == memory.run()
    assert spilled == sorted(spilled)
    assert 10 < spilled.index(True) < 110
    sink.describe(FINISHED)
    sink.close()
    assert Run(MANIFEST, sink.run()._tables) == memory.run()
    assert sink.run().status is Status.FINISHED


def test_a_short_record_touches_no_disk(temporary: Path) -> None:
    sink = SpillingSink(MANIFEST)
    store(sink, list(training(100)))
    assert not list(temporary.iterdir())
    assert sink.run().status is Status.FINISHED
    assert sink.run().step_count == 100


def test_the_temporary_folder_lives_as_long_as_a_run_of_it(temporary: Path) -> None:
    sink = SpillingSink(MANIFEST, limit_bytes=1000)
    store(sink, list(training(100)))
    run = sink.run()
    del sink
    gc.collect()
    assert run.grid("layers", "rows").present.all()
    assert list(temporary.iterdir())
    del run
    gc.collect()
    assert not list(temporary.iterdir())


def test_a_forked_child_leaves_its_parents_temporary_folder(temporary: Path) -> None:
    sink = SpillingSink(MANIFEST, limit_bytes=1000)
    store(sink, list(training(100)))
    child = os.fork()
    if child == 0:
        del sink
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    assert sink.run().step_count == 100
    assert list(temporary.iterdir())


def test_no_room_for_a_temporary_folder_costs_what_memory_may_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    blocks = list(training(300))
    sink = SpillingSink(MANIFEST, limit_bytes=50_000)
    with pytest.warns(RecordLostWarning, match="no temporary folder: No such file") as told:
        store(sink, blocks)
    assert len(told) == 1
    run = sink.run()
    assert 0 < run.step_count < 300
    lost = run.manifest.recording["lost_rows"]
    memory = MemorySink(MANIFEST)
    rows = 0
    for block in blocks:
        if rows + lost < sum(b.rows for b in blocks):
            memory.append(block)
            rows += block.rows
    assert Run(MANIFEST, run._tables) == memory.run()
    assert run.status is Status.FINISHED


def test_a_grid_prints_as_what_it_holds_without_its_values() -> None:
    sink = MemorySink(MANIFEST)
    store(sink, [values("layers", range(1200), [("a", 0), ("b", 0)], np.random.default_rng(0), ("forward_norm",))])
    assert repr(sink.run().grid("layers", "forward_norm")) == "<Grid 'forward_norm', 1,200 steps x 2>"


def test_two_blocks_of_the_same_rows_make_one_row_of_both() -> None:
    draw = np.random.default_rng(0)
    first = values("layers", range(4), [("a", 0), ("b", 0)], draw, ("forward_norm",))
    second = values("layers", range(2, 6), [("b", 0), ("a", 1)], draw, ("backward_norm",))
    sink = MemorySink(MANIFEST)
    store(sink, [first, second])
    forward, backward = (sink.run().grid("layers", column) for column in ("forward_norm", "backward_norm"))
    assert forward.steps.tolist() == backward.steps.tolist() == list(range(6))
    assert forward.entities == backward.entities == (("a", 0), ("a", 1), ("b", 0))
    assert forward.present.sum() == backward.present.sum() == 8
    assert np.isnan(forward.values[~forward.present]).all()
