"""What a probe measures beside what theory predicts: every setting of theory's grid, and the architectures with a formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import gradscope
from gradscope.probe import LayerProbe, Predicted, Probe
from gradscope.theory import critical_gain
from gradscope.training.architectures.mlp import Options, build
from gradscope.training.options import Residual
from tests.probe.nets import chain, rows
from tests.theory.settings import FURTHER, GRID, Setting

PER_LAYER = 0.035
"""Of a squared norm's factor per layer, as in theory's own trials, at fixed seeds. The standard error of a net of 512 units and
10 layers is sqrt(5 / (512 * 9)) = 3.3 % for one sample (Hanin 2018), 1.2 % for 8 that share no units; these lie between."""


def theory_of(layer: LayerProbe) -> Predicted:
    assert layer.predicted is not None
    return layer.predicted


def probed(setting: Setting, *, width: int = 512, depth: int = 10) -> Probe:
    """With a random gradient at the output, one for each sample, so that the samples' gradients do not line up."""
    sigma_w, sigma_b = math.sqrt(setting.sigma_w_squared), math.sqrt(setting.sigma_b_squared)
    options = dict(setting.options)
    model = chain(setting.activation, sigma_w, sigma_b, depth=depth, width=width, weights=setting.weights, **options)
    x, _ = rows(8, width)
    pull = torch.randn(8, width, generator=torch.Generator().manual_seed(7))
    return gradscope.probe(model, (x, pull), lambda out, w: (out * w).sum())


@pytest.mark.parametrize("setting", [known.setting for known in GRID] + FURTHER, ids=str)
def test_a_setting_measures_what_theory_predicts(setting: Setting) -> None:
    """The gradient of the signal, and that of the weights: PReLU's own parameter stands beside a matrix and is not counted."""
    found = probed(setting)
    first = found.layers[0]
    predicted = theory_of(first)
    assert found.theory is None
    assert first.ratio is not None
    assert first.weight_ratio is not None
    assert predicted.weight_ratio is not None
    assert (first.ratio / predicted.ratio) ** (2 / 9) == pytest.approx(1.0, abs=PER_LAYER)
    assert (first.weight_ratio / predicted.weight_ratio) ** (2 / 9) == pytest.approx(1.0, abs=PER_LAYER)
    assert found.departures == ()
    assert predicted.rms == pytest.approx(first.rms, rel=0.1)


@pytest.mark.parametrize("squared", [1.0, 2.0, 4.0])
def test_weight_gradients_of_a_bias_free_relu_net_are_level_at_any_scale(squared: float) -> None:
    """Where the signal dies or grows as the gradient does, one makes up for the other (He 2015): only the ratio shows it."""
    found = probed(Setting("relu", squared, 0.0))
    for layer in found.layers:
        assert theory_of(layer).weight_ratio == pytest.approx(1.0, rel=0.02)  # one matrix's own norm over another's
        assert layer.weight_ratio is not None
        assert abs(math.log(layer.weight_ratio)) < PER_LAYER * 9
    assert theory_of(found.layers[0]).ratio == pytest.approx((squared / 2) ** (9 / 2), rel=0.1)


def test_an_unstable_length_is_reported() -> None:
    """GELU leaves length 1 at the gain that keeps it; at a smaller one it leaves a longer one, so slowly that errors grow."""
    (note,) = probed(Setting("gelu", critical_gain("gelu") ** 2, 0.0), width=256, depth=8).notes
    start = "a mean square of "
    assert note.startswith(start)
    assert float(note.removeprefix(start).split()[0]) == pytest.approx(1.0, abs=0.1)
    assert "an unstable fixed point of gelu at gain 1.53" in note
    rough = probed(Setting("gelu", 2.2, 0.0), width=64, depth=30).notes
    assert any("the signal leaves an unstable fixed point" in note for note in rough)
    for setting in (Setting("tanh", 1.2, 0.1), Setting("relu", 2.0, 0.0)):
        assert not any("unstable" in note for note in probed(setting, width=64, depth=8).notes)


def test_a_narrow_net_is_said_to_be_narrow() -> None:
    notes = probed(Setting("relu", 2.0, 0.0), width=8, depth=20).notes
    assert any("a layer of 8 units is narrow for a theory of wide nets" in note for note in notes)
    assert any("chance alone changes the end-to-end gradient" in note for note in notes)


def test_the_spread_of_narrow_nets_is_the_one_that_is_allowed() -> None:
    """Hanin and Nica 2020: ln of the squared norm varies by 5 L / n and its mean lies half of that below 0."""
    width, depth, nets = 24, 9, 16
    x, _ = rows(1, width)
    pull = torch.randn(1, width, generator=torch.Generator().manual_seed(7))
    logs = []
    for seed in range(nets):
        model = chain("relu", math.sqrt(2.0), 0.0, depth=depth, width=width, seed=seed)
        first = gradscope.probe(model, (x, pull), lambda out, w: (out * w).sum()).layers[0]
        logs.append(2.0 * math.log(first.ratio or math.nan) - 2.0 * math.log(theory_of(first).ratio))
    beta = 5 * (depth - 1) / width
    # The scale of each matrix is its own norm's, which takes 2 / n^2 of the variance a layer: next to nothing.
    assert np.var(logs, ddof=1) == pytest.approx(beta, rel=3 * math.sqrt(2 / (nets - 1)))
    assert np.mean(logs) == pytest.approx(-beta / 2, abs=3 * math.sqrt(beta / nets))


def blocks(rows_in: int = 64, **options: Any) -> tuple[list[LayerProbe], Probe]:
    """The stations of a residual net of width 256 up to its last block, and the whole."""
    torch.manual_seed(0)
    options = {"width": 256, "activation": "relu", "residual": True, **options}
    model = build(Options(**options), (256,), 3)
    found = gradscope.probe(model, rows(rows_in, 256), F.cross_entropy)
    assert found.theory is None
    assert found.departures == ()
    return list(found.layers[:-1]), found


def growth(stations: list[LayerProbe]) -> tuple[float, float]:
    """Of the squared gradient from the last block back to the stem, measured and predicted."""
    first, last = stations[0], stations[-1]
    assert first.ratio is not None
    assert last.ratio is not None
    return (first.ratio / last.ratio) ** 2, (theory_of(first).ratio / theory_of(last).ratio) ** 2


L = 12
RESIDUAL: list[tuple[str, dict[str, Any], float, float]] = [
    ("he", {}, 2.0**L, 0.02),  # Yang and Schoenholz 2017: 1 + 1 per block
    ("root-depth", {"residual": Residual(branch_scale="1/sqrt(depth)")}, (1 + 1 / (L + 2)) ** L, 0.02),  # Hayou 2021
    ("half", {"residual": Residual(branch_scale=0.5)}, 1.25**L, 0.02),
    ("pre-layer-norm", {"norm": "layer"}, (2 + L) / 2, 0.05),  # each branch adds 1 to a stream that begins at 2
    ("pre-batch-norm", {"norm": "batch"}, math.prod(1 + 1 / (2 + k * (1 - 1 / math.pi)) for k in range(L)), 0.08),  # B = 64
]


@pytest.mark.parametrize(("options", "formula", "rel"), [case[1:] for case in RESIDUAL], ids=[case[0] for case in RESIDUAL])
def test_a_residual_net_grows_by_its_formula(options: dict[str, Any], formula: float, rel: float) -> None:
    """``rel`` is what the draw of the stem and of the inputs, and a finite batch, change of the prediction's start."""
    measured, predicted = growth(blocks(depth=L + 2, **options)[0])
    assert predicted == pytest.approx(formula, rel=rel)
    assert (measured / predicted) ** (1 / L) == pytest.approx(1.0, abs=PER_LAYER)


def test_a_branch_that_starts_at_zero_passes_all() -> None:
    measured, predicted = growth(blocks(depth=L + 2, residual=Residual(branch_scale=0))[0])
    assert measured == pytest.approx(1.0, rel=1e-12)
    assert predicted == 1.0


def test_a_tanh_stream_grows_with_the_root_of_its_depth() -> None:
    """Yang and Schoenholz 2017: ln of the growth goes as sqrt(L), so that four times the blocks tend to twice of it, not four
    times; from 10 to 40 they are at 2.4 (from 20 to 80 at 2.25, as theory's own test has it).
    """
    options = {"activation": "tanh", "init": {"scheme": "lecun_normal"}, "width": 128}
    short, long = (growth(blocks(depth=n + 2, **options)[0]) for n in (10, 40))
    assert math.log(long[1]) / math.log(short[1]) == pytest.approx(2.4, abs=0.05)
    assert math.log(long[0]) / math.log(short[0]) == pytest.approx(2.4, abs=0.25)


PLAIN: list[tuple[str, str, float, float]] = [
    ("layer", "relu", 1.0, 0.01),
    ("layer", "tanh", 1.178, 0.01),
    ("batch", "identity", 62 / 61, 0.01),  # (B - 2) / (B - 3) at B = 64 (Yang 2019)
    ("batch", "relu", 1.493, 0.01),  # tends to pi / (pi - 1) = 1.467 from above
]


@pytest.mark.parametrize(("norm", "activation", "formula", "rel"), PLAIN, ids=[f"{n}-{a}" for n, a, _, _ in PLAIN])
def test_inside_a_plain_net_with_a_norm_each_layer_has_its_factor(
    norm: str, activation: str, formula: float, rel: float
) -> None:
    """At any scale of the weights; the first layers differ, so that the interior is compared."""
    options = {"residual": False, "norm": norm, "activation": activation, "init": {"scheme": "lecun_normal", "gain": 0.7}}
    stations, _ = blocks(depth=12, **options)
    measured, predicted = growth(stations[4:])
    count = len(stations) - 5
    assert predicted ** (1 / count) == pytest.approx(formula, rel=rel)
    assert (measured / predicted) ** (1 / count) == pytest.approx(1.0, abs=PER_LAYER)


class FeedForward(nn.Module):
    """W phi(V h) beside its input, behind a norm or not; V at ReLU's gain, the square of W's 1/2, so that 1/2 is added."""

    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.hidden, self.phi, self.out = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        for layer, square in ((self.hidden, 2.0), (self.out, 0.5)):
            nn.init.normal_(layer.weight, std=math.sqrt(square / width))
            nn.init.zeros_(layer.bias)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = h + self.out(self.phi(self.hidden(self.norm(h))))
        return out


def last_block(blocks: int, *, first: bool, seed: int = 0, width: int = 256) -> tuple[float, float]:
    """The gradient at the output of the last block over that behind the norm that follows it, measured and predicted."""
    torch.manual_seed(seed)
    stem = nn.Linear(width, width, bias=False)
    nn.init.normal_(stem.weight, std=width**-0.5)
    parts = [m for _ in range(blocks) for m in (FeedForward(width, norm=first), *(() if first else (nn.LayerNorm(width),)))]
    tail = [nn.LayerNorm(width)] if first else []
    head = nn.Linear(width, 64, bias=False)
    nn.init.normal_(head.weight, std=width**-0.5)  # passes back all of the gradient's norm
    pull = torch.randn(8, 64, generator=torch.Generator().manual_seed(7))
    found = gradscope.probe(nn.Sequential(stem, *parts, *tail, head), (rows(8, width)[0], pull), lambda out, w: (out * w).sum())
    assert found.theory is None
    assert found.departures == ()
    at = found.layers[-2]
    assert at.ratio is not None
    return at.ratio, theory_of(at).ratio


def test_the_last_block_of_a_pre_norm_net_gets_less_the_deeper_the_net_and_of_a_post_norm_net_the_same() -> None:
    """Xiong 2020: L^(-1/2) and O(1); with branches that add 1/2, (1 + L/2)^(-1/2). One draw strays by 3 %, four by 1.5 %."""
    level = []
    for first, depths in ((True, (2, 8, 24)), (False, (2, 24))):
        for blocks in depths:
            draws = [last_block(blocks, first=first, seed=seed) for seed in range(4)]
            assert np.mean([measured / predicted for measured, predicted in draws]) == pytest.approx(1.0, abs=PER_LAYER)
            at = float(np.mean([predicted for _, predicted in draws]))
            level += [] if first else [at]
            assert not first or at == pytest.approx((1 + blocks / 2) ** -0.5, rel=0.02)
    assert level[1] == pytest.approx(level[0], rel=0.02)


def test_orthogonal_weights_leave_chance_nothing_in_a_linear_net() -> None:
    """Saxe 2013: a product of orthogonal matrices is one; so the interval is as wide as the tolerance of each layer alone."""
    found = probed(Setting("linear", 1.0, 0.0, weights="orthogonal"), width=64, depth=20)
    first = found.layers[0]
    assert first.ratio == pytest.approx(1.0, rel=1e-5)
    assert theory_of(first).ratio == pytest.approx(1.0, rel=1e-5)
    low, high = theory_of(first).ratio_interval
    assert math.log(high / low) == pytest.approx(2 * 19 * 0.0175, rel=1e-6)
    assert not found.departures


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(256, 256) for _ in range(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.3)
        out: torch.Tensor = self.layers[-1](x)
        return out


def test_a_function_is_predicted_with_the_options_that_it_was_called_with() -> None:
    """Torch's default weights have n Var(W) = 1/3 (pytorch#57109): a leaky slope of 0.3 leaves (1 + 0.09) / 6 a layer."""
    pull = torch.randn(8, 256, generator=torch.Generator().manual_seed(7))
    found = gradscope.probe(Functional(), (rows(8, 256)[0], pull), lambda out, w: (out * w).sum())
    assert found.theory is None
    assert found.departures == ()
    gain = theory_of(found.layers[4]).gain
    assert gain is not None
    assert gain**2 == pytest.approx(1.09 / 6, rel=0.02)


class Plus(nn.Module):
    """A block whose branch the test gives."""

    def __init__(self, branch: Any) -> None:
        super().__init__()
        self.linear, self.branch = nn.Linear(20, 20), branch

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = h + self.branch(self.linear(h))
        return out


@pytest.mark.parametrize(
    ("branch", "why"),
    [
        (nn.Dropout(0.2), "the branch of 1 ends in a dropout, which cannot be told from its scale"),
        (nn.Sequential(nn.Tanh(), nn.Linear(20, 20), nn.Dropout(0.2)), "the branch of 1 ends in a dropout"),
    ],
)
def test_a_scale_that_cannot_be_told_is_not_guessed(branch: nn.Module, why: str) -> None:
    found = gradscope.probe(nn.Sequential(nn.Linear(20, 20), Plus(branch), nn.Linear(20, 3)), rows(8, 20), F.cross_entropy)
    assert (found.theory or "").startswith(why)


def test_a_branch_that_ends_in_a_scale_of_its_own_is_predicted_with_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20), Plus(lambda h: 0.3 * h), nn.Linear(20, 3))
    found = gradscope.probe(model, rows(8, 20), F.cross_entropy)
    assert found.theory is None
    gain = theory_of(found.layers[1]).gain
    assert gain == pytest.approx(math.sqrt(1 + 0.3**2 * float(model[1].linear.weight.detach().square().sum()) / 20), rel=1e-5)


def test_where_a_head_starts_at_zero_it_says_that_nothing_passes_back() -> None:
    """Fixup (Zhang, Dauphin & Ma 2019): head and last layer of each branch start at 0."""
    torch.manual_seed(0)
    model = build(Options(depth=6, width=16, residual=Residual(fixup=True)), (256,), 3)
    found = gradscope.probe(model, rows(16, 256), F.cross_entropy)
    assert found.theory is not None
    assert found.theory.endswith("start at 0, so that nothing passes back before the first step")
