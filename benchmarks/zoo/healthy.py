"""The healthy trainings, each of which looks sick to one rule of thumb or another: the docstring says why it is not."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .data import digit_rows, digits, moons
from .models import Autocast, Recurrent, Transformer, deep, drawn_by, mlp, residual, with_forget_bias
from .training import DEAD, MSE, Setup, adam, adamw, case, scheduled, setup, sgd, train


@case()
def converged_moons() -> Setup:
    """Trained until it converges: gradients end a thousandfold or more below their start because the task is solved."""
    return setup(drawn_by(deep(2, 32, 3, 2, nn.GELU), "he"), moons(), adam(2e-2), 400, rows=128)


@case()
def loss_times_1e_4_adam() -> Setup:
    """The loss times 1e-4: Adam does not know scales, and small gradients mean nothing."""
    model = drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he")
    return setup(model, digits(), adam(2e-3), 150, lambda out, y: 1e-4 * F.cross_entropy(out, y))


@case()
def sum_reduction_sgd() -> Setup:
    """The loss summed over the batch: gradients 128 times larger, and a learning rate that is smaller by as much."""
    model = drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he")
    summed = lambda out, y: F.cross_entropy(out, y, reduction="sum")  # noqa: E731
    return setup(model, digits(), sgd(0.05 / 128, 0.9), 150, summed, rows=128)


@case()
def frozen_first_layers() -> Setup:
    """Two layers frozen on purpose: their gradient is not there, which is not the same as 0."""
    model = drawn_by(deep(64, 128, 4, 10, nn.ReLU), "he")
    for layer in (model[0], model[2]):
        layer.requires_grad_(False)
    return setup(model, digits(), adam(2e-3), 150)


@case()
def rezero_resmlp_16() -> Setup:
    """ReZero (Bachlechner et al. 2020): the gates of the branches start at 0, and the branches' weights with a gradient of
    exactly 0."""
    return setup(drawn_by(residual(48, 16, gated=True), "he"), digits(), adam(3e-3), 120)


@case()
def wide_narrow_mixture() -> Setup:
    """Layers of 512 units and of 8: the norms of their gradients differ by shape alone."""
    return setup(drawn_by(mlp([64, 512, 8, 256, 16, 10], nn.GELU), "he"), digits(), adam(2e-3), 150)


@case()
def preln_transformer_8() -> Setup:
    """A pre-norm transformer of 8 layers: the identity path keeps its gradients level (Xiong et al. 2020)."""
    return setup(Transformer(), digit_rows(), adam(1e-3), 120)


@case()
def orthogonal_tanh_d30() -> Setup:
    """Orthogonal weights at a gain near 1: dynamical isometry keeps a tanh net of 30 layers trainable (Saxe et al. 2014)."""
    return setup(drawn_by(deep(64, 64, 30, 10, nn.Tanh), "orthogonal", 1.05), digits(), adam(3e-4), 150)


@case()
def lstm_forget_bias_1_rows() -> Setup:
    """An LSTM with a forget bias of 1 on the rows of digits, eight time steps."""
    return setup(with_forget_bias(Recurrent("LSTM", 8, 64, 10), 1.0), digit_rows(), adam(5e-3), 150)


@case()
def finetune_tiny_lr() -> Setup:
    """Trained before on clean digits, tuned on shifted and noisy ones at 2e-4: small updates on purpose."""
    model = drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he")
    train(setup(model, digits(), adam(3e-3), 150))
    x, y = digits()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    return setup(model, (0.7 * x + 0.5 + 0.5 * noise, y), adamw(2e-4), 200)


@case()
def grad_accumulation_4() -> Setup:
    """Four batches of 32 rows to a step."""
    return setup(drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he"), digits(), sgd(0.05, 0.9), 100, rows=32, accumulate=4)


@case()
def dropout_mlp() -> Setup:
    """A third of the units dropped: a noisy loss, and activations of 0 that are not dead."""
    return setup(drawn_by(mlp([64, 128, 128, 10], nn.ReLU, dropout=0.3), "he"), digits(), adam(2e-3), 200)


@case()
def autoencoder_bottleneck_8() -> Setup:
    """64 units, 48, 8, 48, 64: gradients differ around the bottleneck."""
    x, _ = digits()
    return setup(drawn_by(mlp([64, 48, 8, 48, 64], nn.GELU), "he"), (x, x), adam(4e-3), 400, MSE)


@case()
def logistic_regression() -> Setup:
    """One linear layer and a convex loss, which gets so low that its noise looks large beside it."""
    return setup(nn.Linear(64, 10), digits(), sgd(0.1, 0.9), 120)


@case()
def resmlp_preln_50() -> Setup:
    """Fifty pre-norm residual blocks: deep, and level."""
    model = drawn_by(residual(32, 50, norm=nn.LayerNorm, final_norm=True), "he", 0.5)
    return setup(model, digits(), adam(1e-3), 100)


@case()
def warmup_from_zero() -> Setup:
    """A warm-up whose first learning rate is exactly 0: the flat start is the schedule's."""
    warm = scheduled(adam(4e-3), lambda step: min(1.0, step / 60))
    return setup(drawn_by(deep(64, 64, 4, 10, nn.ReLU), "he"), digits(), warm, 180)


@case(tolerates=(DEAD,))
def relu_he_d16() -> Setup:
    """He's weights keep 16 plain ReLU layers level (He et al. 2015): the counterpart of those that stall."""
    return setup(drawn_by(deep(64, 128, 16, 10, nn.ReLU), "he"), digits(), adam(5e-4), 120)


@case()
def bf16_autocast_mlp() -> Setup:
    """bfloat16 by autocast: gradients of few digits, and of float32's whole range."""
    return setup(Autocast(drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he")), digits(), adam(2e-3), 150)
