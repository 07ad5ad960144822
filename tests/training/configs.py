from __future__ import annotations

from typing import Any

from gradscope.training.config import Config


def config(**sections: Any) -> Config:
    """A small network on the spirals; keyword arguments replace or, for a mapping, add to a section."""
    base: dict[str, Any] = {
        "name": "small",
        "device": "cpu",
        "model": {"kind": "mlp", "depth": 3, "width": 16},
        "data": {"name": "spirals", "points": 100, "batch_size": 16},
        "training": {"steps": 6, "validate_every": None},
    }
    for key, value in sections.items():
        base[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return Config.model_validate(base)
