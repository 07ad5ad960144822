"""Configs that bring a sickness about, beside those that are shipped: small networks on the digits, few steps."""

from __future__ import annotations

from collections.abc import Mapping

MODELS: Mapping[str, tuple[str, str]] = {
    "sigmoid-10": ("depth: 10, activation: sigmoid", "lr: 0.05"),
    "sigmoid-40": ("depth: 40, activation: sigmoid, init: {scheme: lecun_normal}", "name: adam, lr: 0.001"),
    "tanh-30-gain-too-small": ("depth: 30, activation: tanh, init: {scheme: lecun_normal, gain: 0.5}", "lr: 0.01"),
    "tanh-20-gain-too-large": ("depth: 20, activation: tanh, init: {scheme: lecun_normal, gain: 3.0}", "lr: 0.01"),
    "relu-30-xavier": ("depth: 30, activation: relu, init: {scheme: xavier_normal}", "lr: 0.01"),
    "relu-15-init-too-small": ("depth: 15, activation: relu, init: {scheme: normal, gain: 0.01}", "lr: 0.01"),
    "relu-15-gain-too-large": ("depth: 15, activation: relu, init: {gain: 4.0}", "lr: 0.01"),
    "gelu-20-lecun": ("depth: 20, activation: gelu, init: {scheme: lecun_normal}", "lr: 0.01"),
    "gelu-10-lr-too-high": ("depth: 10, activation: gelu", "name: adam, lr: 0.3"),
    "relu-10-lr-too-high": ("depth: 10, activation: relu", "lr: 3.0"),
    "relu-10-lr-too-low": ("depth: 10, activation: relu", "lr: 1e-6"),
    "tanh-10-lr-too-low": ("depth: 10, activation: tanh", "name: adam, lr: 1e-7"),
    "batch-norm-60": ("depth: 60, activation: relu, norm: batch", "lr: 0.05"),
}
"""Name -> model and optimizer, without their braces."""
STEPS = 100


def text(name: str) -> str:
    model, optimizer = MODELS[name]
    return f"""\
# {name}
device: cpu
model: {{width: 32, {model}}}  # drawn at seed 0
data: {{name: digits, batch_size: 64}}
optimizer: {{{optimizer}}}
training:
  steps: {STEPS}  # few
  validate_every: null
record: {{every: 2}}
"""
