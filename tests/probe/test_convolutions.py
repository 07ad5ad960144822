"""A probe of nets that read images: theory place by place beside what is measured, and where theory has no word."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradscope
from gradscope.probe import Probe
from gradscope.training.architectures.cnn import Options, build

PER_LAYER = 0.035
"""Of a squared norm's factor per layer, as in theory's own trials: here one net of 96 channels and 16 images."""


def images(size: int = 8, channels: int = 2) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    bright = torch.linspace(0.3, 2.0, size)
    return bright * torch.randn(16, channels, size, size, generator=random), torch.randint(0, 3, (16,), generator=random)


def probed(model: nn.Module, size: int = 8) -> Probe:
    return gradscope.probe(model, images(size), F.cross_entropy)


NETS: dict[str, dict[str, Any]] = {
    "tanh": {"activation": "tanh", "init": {"scheme": "lecun_normal"}},
    "relu-flatten": {"head": "flatten"},
    "sigmoid-wide-taps": {"activation": "sigmoid", "kernel_size": 5, "init": {"scheme": "lecun_normal"}},
    "dropout": {"activation": "gelu", "dropout": 0.3},
    "residual": {"residual": True},
    "pre-norm": {"residual": True, "norm": "group"},
    "plain-norm": {"norm": "group", "activation": "tanh"},
    "half-and-dropout": {"residual": {"branch_scale": 0.5}, "dropout": 0.3, "norm": "group"},
}


@pytest.mark.parametrize("name", NETS)
def test_a_convolutional_net_measures_what_theory_predicts(name: str) -> None:
    torch.manual_seed(0)
    found = probed(build(Options(**{"depth": 10, "width": 96, **NETS[name]}), (2, 8, 8), 3))
    assert found.theory is None
    assert found.departures == ()
    first = found.layers[0]
    assert first.predicted is not None
    assert first.ratio is not None
    assert (first.ratio / first.predicted.ratio) ** (2 / 9) == pytest.approx(1.0, abs=PER_LAYER)
    for layer in found.layers[:-1]:
        assert layer.predicted is not None
        assert layer.rms == pytest.approx(layer.predicted.rms, rel=0.2)


def test_a_mean_over_the_image_leaves_the_heads_signal_unpredicted() -> None:
    """Its length depends on how alike the places are; what comes back through it does not: 1 / sqrt(64) of the norm."""
    torch.manual_seed(0)
    head = probed(build(Options(depth=4, width=64), (2, 8, 8), 3)).layers[-1]
    assert head.predicted is not None
    assert head.predicted.rms is None
    assert head.rms is not None
    assert head.gain is not None
    others = math.log10(head.gain * math.sqrt(64))
    assert head.predicted.gain == pytest.approx(head.gain, rel=0.1)
    assert head.decades is not None
    assert head.decades["fixed"] == pytest.approx(-0.5 * math.log10(64), abs=1e-4)
    assert head.decades["weight"] + head.decades["activation"] == pytest.approx(others, abs=1e-4)


def test_the_border_of_small_images_is_counted() -> None:
    """Nine linear layers of 3 x 3 taps: over 4 x 4 places each keeps 0.76 of the square deep inside, over 16 x 16 0.98."""
    gains = {}
    for size in (4, 16):
        torch.manual_seed(0)
        options = Options(depth=11, width=64, activation="identity", init={"scheme": "lecun_normal"}, head="flatten")
        found = probed(build(options, (2, size, size), 3), size)
        assert found.departures == ()
        first, last = found.layers[0].ratio, found.layers[-2].ratio
        assert first is not None
        assert last is not None
        gains[size] = (first / last) ** (2 / 9)
    assert gains[4] == pytest.approx(0.76, abs=0.03)
    assert gains[16] == pytest.approx(0.97, abs=0.03)


class Tail(nn.Module):
    """One convolution, then what the test is about."""

    def __init__(self, conv: nn.Module, after: Any) -> None:
        super().__init__()
        self.conv, self.head, self.after = conv, nn.LazyLinear(3), after

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.after(torch.relu(self.conv(x))).flatten(1))
        return y


UNKNOWN: list[tuple[nn.Module, Any, str]] = [
    (nn.Conv2d(2, 4, 3, groups=2), lambda h: h, "it knows no convolution in groups or padded by other than zeros (conv)"),
    (
        nn.Conv2d(2, 4, 3, padding_mode="circular", padding=1),
        lambda h: h,
        "it knows no convolution in groups or padded by other",
    ),
    (nn.ConvTranspose2d(2, 4, 3), lambda h: h, "it knows no ConvTranspose2d (conv)"),
    (nn.Conv2d(2, 4, 3), lambda h: F.max_pool2d(h, 2), "it does not know the pooling in front of head"),
    (nn.Conv2d(2, 4, 3), lambda h: 2.0 * h, "it does not know the product in front of head"),
    (nn.Conv2d(2, 4, 3), lambda h: h.mean(3), "a matrix of 24 inputs takes 4 units at 1 places"),
    (nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(2), "it knows no AdaptiveAvgPool2d (after)"),
]


@pytest.mark.parametrize(("conv", "after", "why"), UNKNOWN, ids=[why for *_, why in UNKNOWN])
def test_where_theory_has_no_word_it_says_why(conv: nn.Module, after: Any, why: str) -> None:
    model = Tail(conv, after)
    model(images()[0])
    found = probed(model)
    assert (found.theory or "").startswith(why)
    assert all(layer.predicted is None for layer in found.layers)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_mean_may_be_a_module_over_any_axes(dims: int) -> None:
    torch.manual_seed(0)
    conv, pool = getattr(nn, f"Conv{dims}d"), getattr(nn, f"AdaptiveAvgPool{dims}d")
    model = nn.Sequential(
        conv(2, 64, 3, padding=1), nn.Tanh(), conv(64, 64, 3), nn.Tanh(), pool(1), nn.Flatten(), nn.Linear(64, 3)
    )
    x = torch.randn(16, 2, *[6] * dims, generator=torch.Generator().manual_seed(3))
    found = gradscope.probe(model, (x, images()[1]), F.cross_entropy)
    assert found.theory is None
    assert found.departures == ()
    head = found.layers[-1]
    assert head.decades is not None
    assert head.decades["fixed"] == pytest.approx(-0.5 * math.log10(4**dims), abs=1e-4)
    assert head.predicted is not None
    assert head.predicted.gain == pytest.approx(head.gain, rel=0.2)


class Written(nn.Module):
    """As most code has it: activations and the mean are functions."""

    def __init__(self, tail: Any) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(c, 64, 3, padding=1) for c in (2, 64, 64)])
        self.head, self.tail = nn.Linear(64, 3), tail

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convolutions[:-1]:
            x = torch.relu(conv(x))
        y: Tensor = self.head(self.tail(self.convolutions[-1](x)))
        return y


def test_an_activation_and_a_mean_that_are_functions_are_both_predicted() -> None:
    """What comes back through the head, the mean and the ReLU: sqrt(1/3 / 64 / 2) with torch's default weights."""
    torch.manual_seed(0)
    found = probed(Written(lambda h: torch.relu(h).mean((2, 3))))
    assert found.theory is None
    assert found.departures == ()
    last = found.layers[-2].predicted
    assert last is not None
    assert last.ratio == pytest.approx(math.sqrt(1 / 3 / 64 / 2), rel=0.1)


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        (lambda h: torch.relu(h.mean((2, 3))), "it does not know the mean in front of head"),
        (lambda h: torch.relu(h).movedim(1, 3).mean((1, 2)), "it does not see every activation in front of head"),
    ],
)
def test_an_activation_that_is_out_of_sight_is_not_left_out(tail: Any, why: str) -> None:
    found = probed(Written(tail))
    assert found.theory == why


def test_positions_of_a_sequence_may_go_into_one_matrix() -> None:
    """A matrix at each position by itself, then one that takes them all: no image, and the sum over positions counts."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Flatten(), nn.Linear(64 * 5, 3))
    x = torch.randn(16, 5, 16, generator=torch.Generator().manual_seed(3))
    found = gradscope.probe(model, (x, images()[1]), F.cross_entropy)
    assert found.theory is None
    assert found.departures == ()


def test_padding_may_be_given_as_a_word() -> None:
    torch.manual_seed(0)
    for padding in ("same", "valid"):
        model = Tail(nn.Conv2d(2, 64, 5, padding=padding), lambda h: h)
        model(images()[0])
        found = probed(model)
        assert found.theory is None
        assert found.departures == ()
