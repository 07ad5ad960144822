from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gradscope.errors import RunFolderError, UsageError
from gradscope.record.manifest import Status
from gradscope.training.config import Config
from gradscope.training.loop import Progress, train
from gradscope.training.resume import resume
from tests.training.configs import config
from tests.training.test_loop import assert_same_record


def stop_at(step: int) -> Any:
    def watcher(progress: Progress) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return watcher


class Killed(BaseException):
    pass


def die_at(step: int) -> Any:
    def watcher(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return watcher


# 80 rows are 5 batches of 16 an epoch: 12 steps cross two ends of an epoch, and a checkpoint after 4 stands within one.
CASES: dict[str, dict[str, Any]] = {
    "sgd with momentum": {"optimizer": {"name": "sgd", "momentum": 0.9}},
    "adam": {"optimizer": {"name": "adam"}},
    "rmsprop, centred": {"optimizer": {"name": "rmsprop", "centered": True, "momentum": 0.5}},
    "dropout": {"model": {"dropout": 0.4}},
    "random leaks": {"model": {"activation": "rrelu"}},
    "batch norm": {"model": {"norm": "batch", "residual": {"branch_scale": 0.0}}},
    "warm-up into a cosine": {"schedule": {"name": "cosine", "warmup_steps": 6}},
    "accumulation": {"training": {"accumulate": 3}},
    "float16": {"training": {"precision": "float16"}, "optimizer": {"name": "adam"}},
    "clipping": {"training": {"clip_norm": 0.1}},
    "validation": {"training": {"validate_every": 3}},
    "thinned record": {"record": {"every": {"parameters": 3, "layers": 2, "timesteps": 1}}},
    "large tensors": {"model": {"width": 128}},
    "lsuv": {"model": {"init": {"scheme": "lsuv"}}},
}


def resumable(changes: dict[str, Any]) -> Config:
    training = {"steps": 12, "checkpoint_every": 4, "validate_every": None, **changes.get("training", {})}
    return config(**{**changes, "data": {"points": 33, "batch_size": 16}, "training": training})


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_a_resumed_record_is_bit_identical_to_an_uninterrupted_one(changes: dict[str, Any], tmp_path: Path) -> None:
    given = resumable(changes)
    whole = train(given, tmp_path / "whole")
    broken = tmp_path / "broken"
    with pytest.raises(Killed):
        train(given, broken, progress=die_at(6))
    assert (broken / "checkpoints" / "step-000000004.pt").exists()
    seen: list[int] = []
    resumed = resume(broken, progress=lambda p: seen.append(p.step))
    assert seen == list(range(4, 12))
    assert resumed.status is Status.FINISHED
    assert_same_record(whole, resumed)
    assert whole.catalogue == resumed.catalogue
    end, same = (torch.load(f / "checkpoints" / "step-000000012.pt", weights_only=True) for f in (tmp_path / "whole", broken))
    assert all(torch.equal(end["state"]["trainer"]["model"][k], v) for k, v in same["state"]["trainer"]["model"].items())


@pytest.mark.parametrize("step", [0, 2, 10])
def test_a_run_that_was_interrupted_goes_on_where_it_stopped(step: int, tmp_path: Path) -> None:
    given = resumable({"model": {"dropout": 0.2}})
    whole = train(given)
    train(given, tmp_path / "run", progress=stop_at(step))
    seen: list[int] = []
    resumed = resume(tmp_path / "run", progress=lambda p: seen.append(p.step))
    assert seen[0] == step + 1
    assert_same_record(whole, resumed)


def test_a_run_may_be_interrupted_many_times(tmp_path: Path) -> None:
    given = resumable({})
    whole = train(given)
    train(given, tmp_path / "run", progress=stop_at(1))
    for step in (2, 5, 8):
        assert resume(tmp_path / "run", progress=stop_at(step)).status is Status.INTERRUPTED
    assert_same_record(whole, resume(tmp_path / "run"))


def test_the_time_goes_on_after_a_resume(tmp_path: Path) -> None:
    given = resumable({})
    train(given, tmp_path / "run", progress=stop_at(5))
    seconds = resume(tmp_path / "run").grid("steps", "wall_seconds").values[:, 0]
    assert (seconds[1:] > seconds[:-1]).all()


def test_a_run_that_died_after_its_last_step_is_completed(tmp_path: Path) -> None:
    given = resumable({})
    with pytest.raises(Killed):
        train(given, tmp_path / "run", progress=stop_after_the_last_checkpoint(tmp_path / "run"))
    resumed = resume(tmp_path / "run")
    assert resumed.status is Status.FINISHED
    assert_same_record(train(given), resumed)
    assert resumed.catalogue == train(given).catalogue


def stop_after_the_last_checkpoint(folder: Path) -> Any:
    def watcher(progress: Progress) -> None:
        if progress.step == 11:
            from gradscope.training.checkpoint import save_checkpoint
            from gradscope.training.loop import CHECKPOINTS

            stored = torch.load(folder / CHECKPOINTS / "step-000000008.pt", weights_only=True)
            state = {"trainer": stored["state"]["trainer"], "scope": progress.scope.state_dict()}
            save_checkpoint(folder / CHECKPOINTS, 12, state)
            raise Killed

    return watcher


def test_a_killed_process_loses_nothing_that_a_resume_does_not_bring_back(tmp_path: Path) -> None:
    given = resumable({"optimizer": {"name": "adam"}})
    (tmp_path / "given.yaml").write_text(given.to_yaml())
    program = f"""
import os, signal, torch
from pathlib import Path
from gradscope.training.config import load_config
from gradscope.training.loop import train
torch.set_num_threads(1)
folder = Path({str(tmp_path)!r})
die = lambda p: p.step == 9 and os.kill(os.getpid(), signal.SIGKILL)
train(load_config(folder / "given.yaml"), folder / "run", progress=die)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    seen: list[int] = []
    resumed = resume(tmp_path / "run", progress=lambda p: seen.append(p.step))
    assert seen[0] == 8
    assert_same_record(train(given), resumed)


def test_a_manifest_whose_config_is_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(resumable({}), tmp_path / "run", progress=die_at(5))
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"width": 16', '"width": 0'))
    with pytest.raises(RunFolderError, match=r"config in its manifest cannot be used: model\.width"):
        resume(tmp_path / "run")


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    train(resumable({}), tmp_path / "run")
    with pytest.raises(UsageError, match="finished; there is nothing to resume"):
        resume(tmp_path / "run")


def test_a_run_without_a_checkpoint_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(config(), tmp_path / "run", progress=die_at(2))
    with pytest.raises(RunFolderError, match="no checkpoint"):
        resume(tmp_path / "run")


def test_a_checkpoint_of_another_network_is_refused_and_the_record_is_left_alone(tmp_path: Path) -> None:
    for name, width in (("run", 16), ("other", 8)):
        with pytest.raises(Killed):
            train(resumable({"model": {"width": width}}), tmp_path / name, progress=die_at(6))
    source, target = (tmp_path / name / "checkpoints" / "step-000000004.pt" for name in ("other", "run"))
    target.write_bytes(source.read_bytes())
    from gradscope.record.reader import read_manifest

    before = read_manifest(tmp_path / "run")
    with pytest.raises(RunFolderError, match="does not fit"):
        resume(tmp_path / "run")
    assert read_manifest(tmp_path / "run") == before


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        resume(tmp_path)
