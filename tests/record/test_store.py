from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.errors import FormatVersionError, RecordLostWarning, RunFolderError
from gradscope.record import parts, writer
from gradscope.record.files import table_files
from gradscope.record.grid import Block
from gradscope.record.manifest import Status
from gradscope.record.reader import load_run
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink
from gradscope.record.store import RunFolder
from tests.record.blocks import FINISHED, MANIFEST, recordings, store, training, values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def short_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    """So short that a small run is made of many files of every kind."""
    shrink(monkeypatch)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "JOURNAL_BATCHES", 3)
    monkeypatch.setattr(writer, "SMALL_PARTS", 4)
    monkeypatch.setattr(writer, "SMALL_ROWS", 400)
    monkeypatch.setattr(parts, "GROUP_ROWS", 64)
    monkeypatch.setattr(parts, "FRESH_GROUP_ROWS", 20)
    monkeypatch.setattr(parts, "SERIES_ROWS", 100)


def in_memory(blocks: list[Block]) -> Run:
    sink = MemorySink(FINISHED)
    store(sink, blocks)
    return sink.run()


def same(run: Run, other: Run) -> bool:
    """Whether the values are; how the run ended and where it lies aside."""
    sink = MemorySink(run.manifest)
    tables = Run(sink.manifest, other._tables)
    return run == tables


def files(folder: Path, table: str) -> list[str]:
    return sorted(path.name for path in (folder / table).iterdir())


def test_a_stored_run_equals_the_one_in_memory(folder: Path) -> None:
    blocks = list(training(200))
    store(RunFolder.create(folder, MANIFEST), blocks)
    assert same(load_run(folder), in_memory(blocks))


def test_a_live_run_and_the_loaded_one_are_equal(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    for block in training(50):
        sink.append(block)
    assert sink.run() == load_run(folder)
    assert sink.run().status is Status.RUNNING
    sink.describe(FINISHED)
    sink.close()
    assert sink.run() == load_run(folder)
    assert sink.run().manifest.config == {"seed": 1, "clip_norm": "Infinity"}


def test_a_live_run_is_as_it_was_when_it_was_asked_for(folder: Path, short_journals: None) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    blocks = list(training(300, chunk=5))
    early: list[tuple[Run, int]] = []
    for i, block in enumerate(blocks):
        if i % 40 == 0 and i:
            run = sink.run()
            if i % 80 == 0:
                assert run.step_count == sum(len(b.steps) for b in blocks[:i] if b.table == "steps")
                run.grid("layers", "rows")
            early.append((run, i))
        sink.append(block)
    sink.close()
    for run, i in early:
        assert same(run, in_memory(blocks[:i]))


@pytest.mark.usefixtures("short_journals")
def test_one_step_alone_is_the_row_of_the_grid_wherever_it_is_stored(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    blocks = list(training(120, chunk=7))
    for block in blocks:
        sink.append(block)
    whole = load_run(folder).grid("layers", "backward_norm")
    cached = load_run(folder)
    cached.grid("layers", "backward_norm")
    for i, step in enumerate(whole.steps.tolist()):
        for run in (load_run(folder), in_memory(blocks), cached):
            row = run.at("layers", "backward_norm", step)
            assert row.steps.tolist() == [step]
            assert row.entities == whole.entities
            assert np.array_equal(row.values[0], whole.values[i], equal_nan=True)
            assert np.array_equal(row.present[0], whole.present[i])
    assert not len(load_run(folder).at("layers", "backward_norm", 500).steps)
    sink.close()


@pytest.mark.usefixtures("short_journals")
def test_many_small_files_become_one_part_of_each_table(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    blocks = list(training(500, chunk=3))
    seen: set[int] = set()
    for block in blocks:
        sink.append(block)
        seen.add(len(table_files(folder / "layers").parts))
    assert same(load_run(folder), in_memory(blocks))
    assert max(seen) < 12
    sink.close()
    assert all(len(files(folder, table)) == 1 for table in ("steps", "parameters", "layers", "timesteps"))
    assert same(load_run(folder), in_memory(blocks))


def test_a_row_group_holds_one_name_or_small_ones_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(parts, "GROUP_ROWS", 150)
    store(RunFolder.create(folder, MANIFEST), list(training(100, layers=4)))
    path = next((folder / "parameters").iterdir())
    groups = [pq.ParquetFile(path).read_row_group(i)["parameter"].to_pylist() for i in range(4)]
    assert groups == [[f"layers.{i}.weight"] * 100 for i in range(4)]
    assert pq.read_metadata(path).num_row_groups == 4
    path = next((folder / "layers").iterdir())
    assert [sorted(set(pq.ParquetFile(path).read_row_group(i)["layer"].to_pylist())) for i in range(1)] == [
        ["layers.0", "layers.1", "layers.2", "layers.3"]
    ]


@settings(max_examples=40, deadline=None)
@given(blocks=recordings(), small=st.booleans())
def test_whatever_is_stored_loads_as_it_was(blocks: list[Block], small: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any") / "run"
    with pytest.MonkeyPatch.context() as patch:
        if small:
            shrink(patch)
            patch.setattr(writer, "JOURNAL_BATCHES", 1)
        sink = RunFolder.create(folder, MANIFEST)
        for block in blocks:
            sink.append(block)
        expected = in_memory(blocks)
        assert same(load_run(folder), expected)
        store(sink, [])
    loaded = load_run(folder)
    assert same(loaded, expected)
    for table, column, name in (("layers", "forward_norm", "layers.2"), ("timesteps", "backward_norm", "head")):
        assert loaded.series(table, column, name) == expected.series(table, column, name)


@settings(max_examples=25, deadline=None)
@given(blocks=recordings(), cut=st.integers(0, 30), dies=st.booleans())
def test_a_run_cut_and_gone_on_with_equals_one_never_interrupted(
    blocks: list[Block], cut: int, dies: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "run"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(writer, "JOURNAL_BATCHES", 1)
        sink = RunFolder.create(folder, MANIFEST)
        for block in blocks:
            sink.append(block)
        if dies:
            assert sink._lock
            sink._lock.release()  # as the system does for a process that dies
        else:
            sink.close()
        again = RunFolder.reopen(folder, from_step=cut)
        kept = [rows(b, b.steps < cut) for b in blocks]
        assert same(load_run(folder), in_memory(kept))
        later = [rows(b, b.steps >= cut) for b in blocks]
        store(again, later)
    assert same(load_run(folder), in_memory(blocks))
    assert load_run(folder).status is Status.FINISHED


def rows(block: Block, kept: np.ndarray) -> Block:
    columns = {k: v[kept] for k, v in block.columns.items()}
    return replace(block, steps=block.steps[kept], columns=columns, valid={k: v[kept] for k, v in block.valid.items()})


def test_going_on_without_a_cut_keeps_every_row_and_says_running(folder: Path) -> None:
    blocks = list(training(60))
    store(RunFolder.create(folder, MANIFEST), blocks[:12])
    again = RunFolder.reopen(folder)
    assert load_run(folder).status is Status.RUNNING
    assert load_run(folder).manifest.finished is None
    store(again, blocks[12:])
    assert same(load_run(folder), in_memory(blocks))


def test_a_run_that_is_reopened_and_let_go_ends_as_it_had_ended(folder: Path) -> None:
    store(RunFolder.create(folder, MANIFEST), training(20), replace(FINISHED, reason="it had learned"))
    before = load_run(folder).manifest
    RunFolder.reopen(folder).close()
    assert load_run(folder).manifest == before
    RunFolder.reopen(folder, from_step=10).close()
    assert load_run(folder).status is Status.INTERRUPTED
    again = RunFolder.reopen(folder)
    again.append(next(training(5)))
    again.close()
    assert load_run(folder).status is Status.INTERRUPTED


@pytest.mark.usefixtures("short_journals")
@pytest.mark.parametrize("left", ["journal", "part"])
def test_a_writer_that_dies_between_a_new_file_and_the_old_doubles_nothing(folder: Path, left: str, tmp_path: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    blocks = list(training(40, chunk=5))
    kept: dict[Path, bytes] = {}
    for block in blocks:
        sink.append(block)
        kept |= {path: path.read_bytes() for path in (folder / "layers").glob(f"{left}-*")}
    sink.close()
    for path, content in kept.items():
        path.write_bytes(content)
    (folder / "layers" / "part-000000-000000.parquet.tmp").write_bytes(b"half a part")
    assert same(load_run(folder), in_memory(blocks))
    again = RunFolder.reopen(folder)
    store(again, [])
    assert len(files(folder, "layers")) == 1
    assert same(load_run(folder), in_memory(blocks))


def test_a_run_whose_writer_is_gone_shows_as_interrupted(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    assert load_run(folder).status is Status.RUNNING
    sink.close()
    assert load_run(folder).status is Status.INTERRUPTED


def test_two_writers_never_share_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradscope.record.lock.PATIENCE_SECONDS", 0.05)
    sink = RunFolder.create(folder, MANIFEST)
    with pytest.raises(RunFolderError, match=f"process {os.getpid()} is writing this run"):
        RunFolder.reopen(folder)
    sink.close()
    RunFolder.reopen(folder).close()


def test_a_forked_child_does_not_keep_its_parents_run_locked(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    (asks, tells), (hears, says) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tells)
        os.write(says, b"alive")
        os.read(asks, 1)  # lives until the parent closes the pipe
        os._exit(0)
    os.read(hears, 5)
    assert load_run(folder).status is Status.RUNNING
    sink._lock.release()  # type: ignore[union-attr]
    assert load_run(folder).status is Status.INTERRUPTED
    os.close(tells)
    os.waitpid(child, 0)
    for end in (asks, hears, says):
        os.close(end)


def test_a_folder_that_holds_something_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="exists and is not empty") as error:
        RunFolder.create(tmp_path, MANIFEST)
    assert error.value.exit_code == 2
    assert files(tmp_path, ".") == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written: Not a directory"):
        RunFolder.create(tmp_path / "file" / "run", MANIFEST)
    with pytest.raises(RunFolderError, match="cannot be written: File exists"):
        RunFolder.create(tmp_path / "file", MANIFEST)


def test_going_on_needs_a_run_of_this_format(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no such folder"):
        RunFolder.reopen(folder)
    with pytest.raises(RunFolderError, match=r"it has no manifest\.json"):
        RunFolder.reopen(tmp_path)
    assert not (tmp_path / "lock").exists()
    store(RunFolder.create(folder, MANIFEST), [])
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(FormatVersionError):
        RunFolder.reopen(folder)


def test_an_unknown_column_is_refused(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    with pytest.raises(ValueError, match="'steps' has no column 'los'"):
        sink.append(Block("steps", np.arange(1), (("", 0),), {"los": np.ones((1, 1))}))
    sink.close()


def test_a_deleted_run_folder_costs_the_record_and_not_the_training(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    blocks = list(training(40))
    for block in blocks[:8]:
        sink.append(block)
    shutil.rmtree(folder)
    with pytest.warns(RecordLostWarning, match="its files were deleted") as told:
        store(sink, blocks[8:])
    assert len(told) == 1
    recording = sink.run().manifest.recording
    assert recording["lost_rows"] == sum(block.rows for block in blocks)
    assert recording["lost_reason"] == "its files were deleted"
    assert not folder.exists()


@pytest.fixture
def limited_files() -> Iterator[None]:
    """No file may grow past 64 KiB: writing more fails part of the way, as on a disk that is full."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_write_that_fails_half_way_loses_its_rows_alone(folder: Path, limited_files: None) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    draw = np.random.default_rng(0)
    blocks = [values("steps", range(i, i + n), [("", 0)], draw, ("loss",)) for i, n in ((0, 50), (50, 9000), (9050, 40))]
    with pytest.warns(RecordLostWarning, match="File too large") as told:
        store(sink, blocks)
    assert len(told) == 1
    run = load_run(folder)
    assert same(run, in_memory([blocks[0], blocks[2]]))
    assert run.manifest.recording["lost_rows"] == 9000
    assert run.manifest.recording["lost_reason"] == "File too large"
    assert run.manifest.recording["every"] == {"layers": 10}
    assert run == sink.run()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root mounts a disk to fill it")
def test_a_full_disk_costs_what_it_has_no_room_for(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], capture_output=True).returncode:
        pytest.skip("this system does not let us mount")
    try:
        sink = RunFolder.create(disk / "run", MANIFEST)
        blocks = list(training(4000, chunk=50))
        with pytest.warns(RecordLostWarning, match="No space left on device") as told:
            store(sink, blocks)
        assert len(told) == 1
        run = load_run(disk / "run")
        lost = run.manifest.recording["lost_rows"]
        tables = ("steps", "parameters", "layers", "timesteps")
        columns = {"steps": "loss", "parameters": "grad_norm", "layers": "rows", "timesteps": "backward_norm"}
        assert run.status is Status.FINISHED
        held = sum(int(run.grid(table, columns[table]).present.sum()) for table in tables)
        assert 0 < held == sum(block.rows for block in blocks) - lost
        whole = in_memory(blocks)
        for table in tables:
            grid, full = run.grid(table, columns[table]), whole.grid(table, columns[table])
            assert np.array_equal(grid.values, full.values[np.isin(full.steps, grid.steps)])
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_disk_full_at_the_end_leaves_the_journal_to_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = RunFolder.create(folder, MANIFEST)
    blocks = list(training(40))
    monkeypatch.setattr(writer, "write_part", full)
    store(sink, blocks)
    assert files(folder, "layers") == ["journal-000000.arrow"]
    assert same(load_run(folder), in_memory(blocks))
    assert "lost_rows" not in load_run(folder).manifest.recording


def test_losses_of_before_are_counted_on(folder: Path) -> None:
    store(RunFolder.create(folder, MANIFEST), [], replace(FINISHED, recording={"lost_rows": 5, "lost_reason": "moths"}))
    again = RunFolder.reopen(folder)
    again.describe(FINISHED)
    assert load_run(folder).manifest.recording == {**MANIFEST.recording, "lost_rows": 5, "lost_reason": "moths"}
    again.close()


def test_what_is_appended_after_the_end_is_lost_aloud(folder: Path) -> None:
    sink = RunFolder.create(folder, MANIFEST)
    sink.close()
    sink.close()
    with pytest.warns(RecordLostWarning, match="the run was closed before"):
        sink.append(next(training(5)))


def test_storing_imports_neither_torch_nor_pandas() -> None:
    code = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
from gradscope.record.grid import Block
from gradscope.record.manifest import Manifest
from gradscope.record.reader import load_run
assert "pyarrow" not in sys.modules
from gradscope.record.store import RunFolder
with TemporaryDirectory() as place:
    sink = RunFolder.create(Path(place) / "run", Manifest("n"))
    valid = {"forward_norm": np.eye(2, dtype=bool)}
    columns = {"forward_norm": np.ones((2, 2)), "rows": np.ones((2, 2))}
    sink.append(Block("layers", np.arange(2), (("a", 0), ("b", 1)), columns, valid))
    load_run(Path(place) / "run").grid("layers", "forward_norm")
    sink.close()
    load_run(Path(place) / "run").series("layers", "forward_norm", "b")
assert not {"torch", "pandas"} & set(sys.modules), set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
