"""Configs that bring a sickness about, beside those that are shipped: small networks on the digits, few steps."""

from __future__ import annotations

from collections.abc import Mapping

MODELS: Mapping[str, tuple[str, str, int]] = {
    # name -> model, optimizer, steps
    "sigmoid-10": ("{depth: 10, width: 32, activation: sigmoid}", "{lr: 0.05}", 100),
    "sigmoid-40-lecun": (
        "{depth: 40, width: 32, activation: sigmoid, init: {scheme: lecun_normal}}",
        "{name: adam, lr: 0.001}",
        100,
    ),
    "tanh-30-half-gain": ("{depth: 30, width: 32, activation: tanh, init: {scheme: lecun_normal, gain: 0.5}}", "{lr: 0.01}", 100),
    "tanh-20-triple-gain": ("{depth: 20, width: 32, activation: tanh, init: {scheme: lecun_normal, gain: 3.0}}", "{lr: 0.01}", 100),
    "relu-30-xavier": ("{depth: 30, width: 32, activation: relu, init: {scheme: xavier_normal}}", "{lr: 0.01}", 100),
    "relu-15-normal-0.01": ("{depth: 15, width: 32, activation: relu, init: {scheme: normal, gain: 0.01}}", "{lr: 0.01}", 100),
    "relu-15-quadruple-gain": ("{depth: 15, width: 32, activation: relu, init: {gain: 4.0}}", "{lr: 0.01}", 100),
    "gelu-20-lecun": ("{depth: 20, width: 32, activation: gelu, init: {scheme: lecun_normal}}", "{lr: 0.01}", 100),
    "gelu-10-lr-too-high": ("{depth: 10, width: 32, activation: gelu}", "{name: adam, lr: 0.3}", 100),
    "relu-10-lr-too-high": ("{depth: 10, width: 32, activation: relu}", "{lr: 3.0}", 100),
    "relu-10-lr-too-low": ("{depth: 10, width: 32, activation: relu}", "{lr: 1e-6}", 100),
    "tanh-10-lr-too-low": ("{depth: 10, width: 32, activation: tanh}", "{name: adam, lr: 1e-7}", 100),
    "batch-norm-60": ("{depth: 60, width: 32, activation: relu, norm: batch}", "{lr: 0.05}", 100),
}  # fmt: skip


def text(name: str) -> str:
    model, optimizer, steps = MODELS[name]
    return (
        f"# {name}\n"
        f"device: cpu\n"
        f"model: {model}\n"
        f"data: {{name: digits, batch_size: 64}}\n"
        f"optimizer: {optimizer}\n"
        f"training: {{steps: {steps}, validate_every: null}}\n"
    )
