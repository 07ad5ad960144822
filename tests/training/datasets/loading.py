from __future__ import annotations

from typing import Any

import torch

from gradscope.training.config import DATASETS
from gradscope.training.data import Data

NEED_FILES = {"cifar10", "fashion-mnist", "mnist", "npz"}
AT_HAND = sorted(set(DATASETS.built_in) - NEED_FILES - {"import"})
"""Data sets that are drawn, or that ship with scikit-learn."""


def load(name: str, seed: int = 0, **options: Any) -> Data:
    module = DATASETS[name]
    data: Data = module.load(module.Options.model_validate({"name": name, **options}), seed)
    return data


def rows(data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """All inputs and all targets."""
    parts = (data.train, data.validation)
    return torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts])
