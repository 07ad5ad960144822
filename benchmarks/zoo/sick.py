"""The sick trainings. What each label says of its run stands in the docstring, with the theory that it follows from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data import adding, digits, drawn, linear_teacher, recall, teacher, whole
from .models import Recurrent, deep, drawn_by, residual, with_biases, with_forget_bias, with_radius
from .training import (
    DEAD,
    EXPLODING,
    MSE,
    NON_FINITE,
    SATURATED,
    SLOW,
    TOO_FAST,
    UNSTABLE,
    VANISHING,
    Setup,
    adam,
    case,
    rmsprop,
    setup,
    sgd,
)

# ---- the gradient vanishes


@case(VANISHING, tolerates=(SLOW,))
def sigmoid_mlp_d12_sgd() -> Setup:
    """sigmoid' <= 1/4, so delta shrinks fourfold or more per layer with Xavier weights (Glorot & Bengio 2010); SGD stalls at
    chance."""
    return setup(drawn_by(deep(64, 64, 12, 10, nn.Sigmoid), "xavier"), digits(), sgd(0.1), 150)


@case(VANISHING, tolerates=(SLOW,))
def sigmoid_mlp_d30_adam() -> Setup:
    """The same at depth 30: early gradients near 1e-15, below Adam's epsilon, so that not even Adam moves them usefully."""
    return setup(drawn_by(deep(64, 48, 30, 10, nn.Sigmoid), None, bias=None), digits(), adam(1e-3), 150)


@case(VANISHING, tolerates=(SLOW,))
def tanh_mlp_d20_small_init() -> Setup:
    """tanh with weights of std 0.4/sqrt(n) and torch's biases: the back-propagated signal shrinks to 0.4 per layer."""
    return setup(drawn_by(deep(64, 64, 20, 10, nn.Tanh), "lecun", 0.4, bias=None), digits(), sgd(0.05), 150)


@case(VANISHING, tolerates=(SLOW, DEAD))
def relu_mlp_d20_small_normal() -> Setup:
    """ReLU, N(0, 0.02), no biases: gain 0.11 per layer. Forward and backward shrink together, so the weight gradients are 0
    alike (a flat profile) while the back-propagated signal decays exponentially."""
    return setup(drawn_by(deep(64, 64, 20, 10, nn.ReLU), "normal", 0.02), digits(), sgd(0.05, 0.9), 150)


@case(VANISHING, tolerates=(SLOW, DEAD))
def relu_xavier_d30() -> Setup:
    """He et al. 2015 (fig. 3): a ReLU net of 30 layers stalls with Xavier's weights, gain 1/sqrt 2 per layer, 2^-15 in all."""
    return setup(drawn_by(deep(64, 64, 30, 10, nn.ReLU), "xavier"), digits(), sgd(0.01), 150)


@case(VANISHING, tolerates=(SLOW, DEAD))
def relu_default_init_d40() -> Setup:
    """torch draws linear layers with variance 1/(3n): ReLU's gain is sqrt(1/6) = 0.41 per layer, 1e-15 over 40."""
    return setup(deep(64, 64, 40, 10, nn.ReLU), digits(), adam(1e-3), 120)


@case(VANISHING, tolerates=(SLOW,), name="rnn-tanh-radius-0.5-T60")
def rnn_tanh_radius() -> Setup:
    """Recurrent matrix 0.5 times an orthogonal one, tanh: |dh_T/dh_0| <= 0.5^60; the class shown at step 0 cannot be learned
    (Bengio et al. 1994, Pascanu et al. 2013)."""
    return setup(with_radius(Recurrent("RNN", 4, 64, 4), 0.5), drawn(recall(60, 64)), adam(1e-3), 120)


@case(VANISHING, tolerates=(SLOW,))
def lstm_forget_bias_minus_5() -> Setup:
    """A forget gate of sigmoid(-5) = 0.007 erases the cell at every step, and so the gradient through time (Jozefowicz et al.
    2015)."""
    return setup(with_forget_bias(Recurrent("LSTM", 4, 48, 4), -5.0), drawn(recall(40, 64)), adam(1e-3), 120)


# ---- the gradient explodes


@case(EXPLODING, NON_FINITE, tolerates=(UNSTABLE, TOO_FAST, DEAD), name="rnn-relu-radius-1.5-explodes")
def rnn_relu_radius() -> Setup:
    """A ReLU net with recurrent matrix 1.5 times the identity: |dh_T/dh_0| near 1.5^50 = 6e8 (Pascanu et al. 2013); the first
    update sends the loss to NaN."""
    model = with_radius(Recurrent("RNN", 2, 48, 1, nonlinearity="relu"), 1.5, identity=True)
    return setup(model, drawn(adding(50, 64)), sgd(1e-3), 80, MSE)


@case(EXPLODING, NON_FINITE, tolerates=(UNSTABLE, TOO_FAST, DEAD))
def relu_mlp_d20_large_init() -> Setup:
    """He's std times 2.5: signal and gradient grow 2.5 times per layer, 2.5^19 = 4e7; NaN after the first update."""
    return setup(drawn_by(deep(64, 64, 20, 10, nn.ReLU), "he", 2.5), digits(), sgd(1e-3), 80)


@case(EXPLODING, tolerates=(TOO_FAST, UNSTABLE, SLOW))
def batchnorm_plain_relu_d60() -> Setup:
    """Yang et al. 2019: batch norm makes a plain net's gradients explode at initialisation, pi/(pi - 1) per layer in the
    squared norm: 1.21^60, about 1e5 in the norm."""
    model = drawn_by(deep(64, 64, 60, 10, nn.ReLU, norm=nn.BatchNorm1d), "he")
    return setup(model, digits(), sgd(0.05), 80, rows=128)


@case(EXPLODING, tolerates=(NON_FINITE, UNSTABLE, TOO_FAST, DEAD))
def resmlp_no_norm_large_init_d40() -> Setup:
    """Residual branches without a norm at He's std times 1.5: a block multiplies the variance by 1 + 1.5^4, 40 of them by
    more than 1e15."""
    return setup(drawn_by(residual(48, 40), "he", 1.5), digits(), adam(1e-3), 60)


# ---- activations saturate


@case(SATURATED, tolerates=(VANISHING, SLOW))
def sigmoid_output_mse_saturated() -> Setup:
    """A sigmoid and the squared error, output weights 30 times too large: outputs pinned at 0 and 1, where s(1 - s) is 0
    (Nielsen 2015, chapter 3)."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), last := nn.Linear(64, 10), nn.Sigmoid())
    drawn_by(model, "lecun")
    last.weight.data.mul_(30)
    return setup(model, digits(), sgd(2.0), 150, _to_one_hot)


@case(SATURATED, tolerates=(VANISHING, SLOW, UNSTABLE))
def tanh_input_times_255() -> Setup:
    """Inputs that nobody scaled, pixels times 255: the first tanh is at -1 or 1 almost everywhere, and its gradients die;
    the same net on scaled inputs reaches a loss of 0.19."""
    x, y = digits()
    return setup(drawn_by(deep(64, 64, 3, 10, nn.Tanh), "lecun"), (x * 255, y), sgd(0.1), 150)


@case(SATURATED, tolerates=(VANISHING, SLOW))
def tanh_saturated_biases() -> Setup:
    """tanh units with biases of -6 and 6, as after a bad restore: each sits on its flat part whatever the input."""
    model = drawn_by(deep(64, 64, 3, 10, nn.Tanh), "lecun")
    with_biases(model, {place: 6.0 * torch.sign(torch.randn(64)) for place in (0, 2)})
    return setup(model, digits(), sgd(0.02), 120)


# ---- numbers that are none


@case(NON_FINITE, TOO_FAST, tolerates=(UNSTABLE, EXPLODING, DEAD))
def lr_100_sgd_nan() -> Setup:
    """Plain SGD at a learning rate of 100 on a sound ReLU net with the squared error: overflow within a few steps."""
    return setup(drawn_by(deep(32, 64, 3, 1, nn.ReLU), "he"), teacher(), sgd(100.0), 60, MSE)


@case(NON_FINITE, tolerates=(EXPLODING, UNSTABLE))
def poisson_exp_overflow_outlier() -> Setup:
    """exp() of a linear predictor, and one corrupt row of 1e4 in the data: exp overflows, and all is NaN from there on."""
    x, y = linear_teacher(16)
    x, y = x.clone(), torch.exp(0.5 * y)
    x[1234] = 1e4
    model = drawn_by(deep(16, 32, 2, 1, nn.ReLU), "he", 0.5)
    return setup(model, (x, y), adam(1e-3), 80, lambda out, target: (out.exp() - target * out).mean())


@case(NON_FINITE, tolerates=(SATURATED,))
def naive_log_softmax_overflow() -> Setup:
    """log(exp(z) / sum exp(z)) written by hand, on unscaled inputs: exp(z) overflows float32 above 88."""
    x, y = digits()
    return setup(drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he"), (x * 40, y), sgd(1e-4), 40, _naive_cross_entropy)


# ---- units die


@case(DEAD, tolerates=(VANISHING, SLOW))
def dead_relu_negative_bias() -> Setup:
    """Hidden biases of -12: no pre-activation is ever above 0, and ReLU passes no gradient."""
    model = drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he")
    with_biases(model, {0: -12.0, 2: -3.0})
    return setup(model, digits(), sgd(0.05), 120)


@case(DEAD, TOO_FAST, tolerates=(UNSTABLE, VANISHING, EXPLODING, NON_FINITE))
def dead_relu_huge_lr() -> Setup:
    """SGD at 3 with momentum throws the biases far below 0 in its first steps; the units never fire again."""
    return setup(drawn_by(deep(64, 64, 4, 10, nn.ReLU), "he"), digits(), sgd(3.0, 0.9), 120)


@case(DEAD, tolerates=(VANISHING, SLOW))
def dead_relu_one_deep_layer() -> Setup:
    """Middle layers that start with biases of -20 answer 0, and nothing below them ever gets a gradient."""
    model = drawn_by(deep(64, 48, 6, 10, nn.ReLU), "he")
    with_biases(model, dict.fromkeys((2, 4, 6), -20.0))
    return setup(model, digits(), adam(1e-3), 120)


# ---- the learning rate is far too small, or too large


@case(SLOW)
def slow_sgd_1e_5() -> Setup:
    """A sound ReLU classifier at a learning rate of 1e-5: the loss does not move; at ten thousand times that it learns."""
    return setup(drawn_by(deep(64, 64, 3, 10, nn.ReLU), "he"), digits(), sgd(1e-5), 150)


@case(SLOW)
def slow_adam_regression() -> Setup:
    """Adam at 2e-7 on a sound tanh net that predicts numbers."""
    return setup(drawn_by(deep(32, 64, 3, 1, nn.Tanh), "lecun"), linear_teacher(32), adam(2e-7), 150, MSE)


@case(UNSTABLE, TOO_FAST, tolerates=(DEAD, VANISHING, EXPLODING), name="adam-lr-0.5-jagged")
def adam_jagged() -> Setup:
    """Adam at 0.5 on a small ReLU net that predicts numbers: each weight moves by 0.5, and the loss leaps far above what a
    hundredth of that rate reaches."""
    return setup(drawn_by(deep(32, 64, 3, 1, nn.ReLU), "he"), teacher(), adam(0.5), 150, MSE)


@case(UNSTABLE, TOO_FAST, tolerates=(EXPLODING,))
def gd_quadratic_momentum_oscillates() -> Setup:
    """Heavy ball on an ill-conditioned quadratic just beyond 2 (1 + momentum) / sharpness: the loss swings and grows."""
    x, y = linear_teacher(32)
    x = x * torch.linspace(0.2, 2.0, 32)
    sharpness = float(torch.linalg.eigvalsh(2 * x.T @ x / len(x))[-1])
    model = nn.Linear(32, 1, bias=False)
    return setup(model, whole((x, y)), sgd(1.02 * 2 * 1.9 / sharpness, 0.9), 120, MSE)


@case(UNSTABLE, TOO_FAST, tolerates=(EXPLODING, DEAD), name="rmsprop-lr-0.5-classifier")
def rmsprop_classifier() -> Setup:
    """RMSprop at 0.5 on a sound GELU classifier: the loss thrashes around chance and above; a thousandth of that rate learns
    smoothly."""
    return setup(drawn_by(deep(64, 64, 4, 10, nn.GELU), "he"), digits(), rmsprop(0.5), 150)


def _to_one_hot(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, F.one_hot(targets, 10).float())


def _naive_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    shares = outputs.exp() / outputs.exp().sum(1, keepdim=True)
    return -shares.log()[torch.arange(len(targets)), targets].mean()
