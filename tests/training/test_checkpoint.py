from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import pytest
import torch

from gradscope.errors import RunFolderError
from gradscope.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3)},
    "optimizer": {"state": {0: {"step": 3}}, "lr": 0.1},
    "none": None,
}


def test_a_checkpoint_gives_back_the_step_and_the_state(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 12, STATE)
    step, state = load_checkpoint(tmp_path)
    assert step == 12
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])  # type: ignore[index]
    assert state["optimizer"] == STATE["optimizer"]


def test_only_the_newest_is_kept(tmp_path: Path) -> None:
    for step in (900, 1000, 20000):
        save_checkpoint(tmp_path, step, {"at": step})
    assert [p.name for p in tmp_path.iterdir()] == ["step-000020000.pt"]
    assert load_checkpoint(tmp_path) == (20000, {"at": 20000})


def test_one_that_was_not_written_to_its_end_does_not_count(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"at": 5})
    (tmp_path / "step-000000010.pt.tmp").write_bytes(b"half")
    assert load_checkpoint(tmp_path)[0] == 5


def test_without_a_checkpoint_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no checkpoint") as caught:
        load_checkpoint(tmp_path / "checkpoints")
    assert "checkpoint_every" in str(caught.value.hint)


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 5, STATE)
    whole = path.read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(RunFolderError, match="damaged"):
            load_checkpoint(tmp_path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch " + str(tmp_path / "ran"),)

    buffer = io.BytesIO()
    torch.save({"format": 1, "step": 1, "state": Evil()}, buffer, pickle_module=pickle)
    (tmp_path / "step-000000001.pt").write_bytes(buffer.getvalue())
    with pytest.raises(RunFolderError):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    torch.save({"format": 99, "step": 1, "state": {}}, tmp_path / "step-000000001.pt")
    with pytest.raises(RunFolderError, match="format 99"):
        load_checkpoint(tmp_path)
