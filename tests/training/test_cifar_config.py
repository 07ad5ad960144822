"""The config of He et al. (2016) for CIFAR-10, on made-up files in the published layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from gradscope.errors import TrainingError
from gradscope.training.build import build
from gradscope.training.config import Config, load_config
from gradscope.training.loop import train
from gradscope.training.schedule import factor

PATH = Path(__file__).parents[2] / "configs" / "cifar10-resnet20.yaml"


def on(folder: Path, *overrides: str) -> Config:
    return load_config(PATH, ["device=cpu", f"data.path={folder}", "data.published=false", "data.batch_size=16", *overrides])


def test_the_network_and_the_schedule_are_those_of_the_paper(made_up_files: Path) -> None:
    config = load_config(PATH)
    rates = [0.1 * factor(config.schedule, step, config.training.steps) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    setup = build(on(made_up_files / "cifar10"))
    assert setup.parameter_count == 269_722  # 0.27 M, table 6
    assert setup.data.input_shape == (3, 32, 32)


@pytest.mark.parametrize("folder", ["cifar10", "cifar10-pickled"])
def test_it_takes_a_step_on_files_of_the_published_layout(folder: str, made_up_files: Path) -> None:
    run = train(on(made_up_files / folder, "training.steps=1", "training.checkpoint_every=null"))
    assert run.grid("steps", "loss").values[0, 0] > 0
    assert 0 <= run.grid("steps", "validation_accuracy").values[0, 0] <= 1


def test_every_image_it_trains_on_is_changed_and_none_it_validates_on(made_up_files: Path) -> None:
    from gradscope.training.trainer import Trainer

    setup = build(on(made_up_files / "cifar10"))
    x, _ = Trainer(setup).batches[0]
    known = setup.data.train.x.flatten(1)
    same = (torch.cdist(x.flatten(1), known) == 0).any(1)
    assert same.float().mean() < 0.5
    assert len(setup.data.validation) == 20


@pytest.mark.parametrize("harm", ["truncated", "tampered"])
def test_it_refuses_a_truncated_or_tampered_file(harm: str, made_up_files: Path, tmp_path: Path) -> None:
    shutil.copytree(made_up_files / "cifar10", tmp_path / "cifar10")
    path = tmp_path / "cifar10" / "data_batch_4.bin"
    held = path.read_bytes()
    path.write_bytes(held[:-100] if harm == "truncated" else b"\xff" + held[1:])
    with pytest.raises(TrainingError, match=r"data_batch_4\.bin is damaged"):
        train(on(tmp_path / "cifar10"))
    with pytest.raises(TrainingError, match=r"data_batch_1\.bin is damaged: it has .* bytes \(expected 30,730,000\)"):
        train(on(tmp_path / "cifar10", "data.published=true"))
