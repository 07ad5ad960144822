"""Trainings beyond the zoo, for which no threshold was set: other architectures, losses, optimizers, and ways to begin.

The healthy ones learn, or have nothing (more) to learn. Beside each sick one stands what cures it, and the verdict on the cured
twin is healthy: the label is that of the difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradscope
from gradscope.detect.engine import RULES
from gradscope.record.finding import Finding, Severity
from gradscope.record.manifest import Status
from tests.detect.trainings import Batches, Training, adam, cross_entropy, digits, drawn, initialised, mlp, mse, sgd, shuffled

# ---- healthy


class Towers(nn.Module):
    """Two towers, each for a half of the image; their similarities are the logits (CLIP, Radford et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = mlp([32, 64, 64, 16]), mlp([32, 64, 64, 16])

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.left(x[:, :32]), self.right(x[:, 32:])
        return functional.normalize(left, dim=1) @ functional.normalize(right, dim=1).T / 0.2


def two_towers() -> Training:
    model = Towers()
    return Training(model, adam(model, 2e-3), shuffled(digits()), lambda o, _: cross_entropy(o, torch.arange(len(o))))


class UNet(nn.Module):
    """Down, the middle, up again with a skip (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((1, 8), (8, 16), (24, 8)))
        self.out = nn.Conv2d(8, 1, 1)
        initialised(self, 2**0.5)

    def forward(self, x: Tensor) -> Tensor:
        above = self.down(x).relu()
        below = self.middle(functional.max_pool2d(above, 2)).relu()
        return self.out(self.up(torch.cat([functional.interpolate(below, scale_factor=2), above], 1)).relu())


def u_net() -> Training:
    clean = digits()[0].view(-1, 1, 8, 8)[:512]
    noisy = clean + 0.7 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    model = UNet()
    return Training(model, adam(model, 3e-3), shuffled((noisy, clean), 32), mse, 60)


class EveryStep(nn.Module):
    """A recurrent net that answers at each time step."""

    def __init__(self, cell: nn.Module, inputs: nn.Module, outputs: int) -> None:
        super().__init__()
        self.inputs, self.cell, self.head = inputs, cell, nn.Linear(cell.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.inputs(x))[0])


def lstm_with_a_loss_at_every_step() -> Training:
    def waves(g: torch.Generator) -> tuple[Tensor, Tensor]:
        phase = torch.arange(33) * (0.2 + 0.4 * torch.rand(32, 1, generator=g)) + 6.3 * torch.rand(32, 1, generator=g)
        wave = phase.sin()[..., None]
        return wave[:, :-1], wave[:, 1:]

    model = EveryStep(nn.LSTM(1, 32, batch_first=True), nn.Identity(), 1)
    return Training(model, adam(model, 1e-2), drawn(waves), mse)


def text(certainty: float) -> Batches:
    """Sentences of a Markov chain over 16 letters; of certainty 0 the next letter cannot be known."""
    chance = (certainty * torch.randn(16, 16, generator=torch.Generator().manual_seed(1))).softmax(1)

    def sentences(g: torch.Generator) -> tuple[Tensor, Tensor]:
        letters = [torch.randint(0, 16, (32,), generator=g)]
        for _ in range(8):
            letters.append(torch.multinomial(chance[letters[-1]], 1, generator=g)[:, 0])
        return torch.stack(letters[:-1], 1), torch.stack(letters[1:], 1)

    return drawn(sentences)


def language_model(certainty: float, lr: float) -> Training:
    model = EveryStep(nn.GRU(32, 32, batch_first=True), nn.Embedding(16, 32), 16)
    loss = lambda o, y: cross_entropy(o.flatten(0, 1), y.flatten())  # noqa: E731
    return Training(model, adam(model, lr), text(certainty), loss, 64)


def half_precision() -> Training:
    """The scale begins far too high, is halved until it fits, and doubled again every 20 steps."""
    model = mlp([64, 64, 64, 10])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=20)
    return Training(model, adam(model, 3e-3), shuffled(digits()), scaler=scaler)


def random_labels() -> Training:
    def noise(g: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.randn(64, 64, generator=g), torch.randint(0, 10, (64,), generator=g)

    model = mlp([64, *[64] * 8, 10])
    return Training(model, sgd(model, 0.02, 0.9), drawn(noise))


def sure_and_right_from_the_start() -> Training:
    """Sigmoids at the output, trained before until they are saturated; cross-entropy goes on."""
    pixels, numbers = digits()
    model = nn.Sequential(*mlp([64, 64, 1], nn.Tanh, 1.0), nn.Sigmoid())
    loss = functional.binary_cross_entropy
    data = (pixels, (numbers[:, None] < 5).float())
    before = Training(model, adam(model, 1e-2), shuffled(data), loss)
    for _ in range(300):
        before.step()
    return Training(model, adam(model, 1e-3), shuffled(data), loss)


def batches_of_one() -> Training:
    model = mlp([64, 48, 10])
    return Training(model, sgd(model, 0.01), shuffled(digits(), 1), steps=160)


class Stochastic(nn.Module):
    """Residual blocks of which each forward leaves out half (Huang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, 32), nn.Linear(32, 10)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.ReLU()) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            if torch.rand(()) < 0.5:
                h = h + block(h)
        return self.head(h)


def stochastic_depth() -> Training:
    model = Stochastic()
    return Training(model, adam(model, 3e-3), shuffled(digits()))


class Flow(nn.Module):
    """Affine couplings of two dimensions (Dinh et al. 2017); to map an arc onto a normal density, scales go to their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(mlp([1, 64, 2]) for _ in range(6))
        for coupling in self.couplings:
            nn.init.zeros_(coupling[-1].weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x[:, :1], x[:, 1:]
        volume = torch.zeros(len(x))
        for coupling in self.couplings:
            scale, shift = coupling(a).chunk(2, 1)
            volume = volume + scale.tanh().sum(1)
            a, b = b * scale.tanh().exp() + shift, a
        return torch.cat([a, b], 1), volume


def normalising_flow() -> Training:
    """The loss is a negative log-likelihood, below 0 in the end; its gradient at the latent variables is these themselves."""

    def arc(g: torch.Generator) -> tuple[Tensor, Tensor]:
        angle = 3.14 * torch.rand(256, generator=g)
        return 0.1 * torch.stack([angle.cos(), angle.sin()], 1) + 0.005 * torch.randn(256, 2, generator=g), angle

    model = Flow()
    loss = lambda out, _: (0.5 * out[0].square().sum(1) + 1.8379 - out[1]).mean()  # noqa: E731
    return Training(model, adam(model, 3e-3), drawn(arc), loss, 200)


HEALTHY = [
    normalising_flow,
    two_towers,
    u_net,
    lstm_with_a_loss_at_every_step,
    half_precision,
    random_labels,
    sure_and_right_from_the_start,
    batches_of_one,
    stochastic_depth,
]


def serious(findings: tuple[Finding, ...]) -> set[str]:
    return {f.rule for f in findings if f.severity is not Severity.INFO}


@pytest.mark.parametrize("make", HEALTHY, ids=lambda make: make.__name__)
def test_what_only_looks_sick_is_healthy_and_ended_by_no_rule_on_the_way(make: Callable[[], Training]) -> None:
    torch.manual_seed(0)
    training, told = make(), []
    scope = training.watched(scaler=training.scaler, on_finding=told.append, stop_on=tuple(RULES), last_step=training.steps - 1)
    assert scope.run.status is Status.FINISHED, scope.run.manifest.reason
    assert not serious(scope.check().findings)
    assert not serious(tuple(told))


def test_a_language_model_near_its_entropy_floor_is_healthy() -> None:
    """The loss falls from 2.77 to 2.6 and no further: the chain's entropy."""
    torch.manual_seed(0)
    assert not serious(language_model(certainty=0.7, lr=3e-3).watched().check().findings)


def test_a_scaler_that_nobody_told_of_skips_steps_and_breaks_none() -> None:
    torch.manual_seed(0)
    run = half_precision().watched().run
    assert run.grid("steps", "skipped").present.sum() >= 1
    assert not serious(gradscope.check(run).findings)


# ---- sick, and cured


def slow_with_a_head_at_0(*, cured: bool) -> Training:
    model = mlp([64, 64, 64, 10])
    nn.init.zeros_(model[-1].weight)
    return Training(model, sgd(model, 0.1 if cured else 1e-6), shuffled(digits()))


def slow_language_model(*, cured: bool) -> Training:
    return language_model(certainty=3.0, lr=1e-2 if cured else 1e-7)


def gelu_net_of_20_layers(*, cured: bool) -> Training:
    """0.59 of the squared gradient a layer at Xavier's gain; along a residual path there is 1."""
    model = mlp([64, *[48] * 19, 10], nn.GELU, 1.0)
    if cured:
        model = nn.Sequential(
            nn.Linear(64, 48), *[Residual(nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 48), nn.GELU())) for _ in range(4)]
        ).append(nn.Linear(48, 10))
    return Training(model, sgd(model, 0.05, 0.9), shuffled(digits()))


class Residual(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class LastStep(nn.Module):
    """A GRU that answers at the end; its update gate's bias says how much of the state stays (sigmoid(-5) is 0.007)."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(4, 32, batch_first=True), nn.Linear(32, 4)
        with torch.no_grad():
            self.cell.bias_ih_l0[32:64] = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


def forgetful_gru(*, cured: bool) -> Training:
    def shown_first(g: torch.Generator) -> tuple[Tensor, Tensor]:
        kind = torch.randint(0, 4, (64,), generator=g)
        x = 0.1 * torch.randn(64, 16, 4, generator=g)
        x[:, 0] += functional.one_hot(kind, 4)
        return x, kind

    model = LastStep(3.0 if cured else -5.0)
    return Training(model, adam(model, 1e-2), drawn(shown_first), steps=64)


class WrittenOut(nn.Module):
    """A highway net in one forward pass (Srivastava et al. 2015); its gates' bias says how much passes on unchanged."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, 32), nn.Linear(32, 10)
        self.layers = nn.ModuleList(nn.Linear(32, 64) for _ in range(20))
        for layer in self.layers:
            nn.init.constant_(layer.bias[32:], bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for layer in self.layers:
            new, gate = layer(h).chunk(2, 1)
            h = gate.sigmoid() * new.tanh() + (1.0 - gate.sigmoid()) * h
        return self.head(h)


def gates_that_let_nothing_pass(*, cured: bool) -> Training:
    model = WrittenOut(-3.0 if cured else 4.0)
    return Training(model, adam(model, 3e-3), shuffled(digits()), steps=64)


def optimizer_of_another_copy(*, cured: bool) -> Training:
    model = mlp([64, 64, 64, 10])
    return Training(model, sgd(model if cured else copy.deepcopy(model), 0.1), shuffled(digits()))


def leaky_net_of_14_layers(*, cured: bool) -> Training:
    """Twice He's gain: 2^12 from the last hidden layer to the first."""
    model = mlp([64, *[48] * 13, 10], nn.LeakyReLU, 2**0.5 if cured else 2**1.5)
    return Training(model, torch.optim.RMSprop(model.parameters(), 2e-4), shuffled(digits()), steps=44)


def gelu_layer_far_below_0(*, cured: bool) -> Training:
    model = mlp([64, 64, 64, 10], nn.GELU)
    if not cured:
        nn.init.constant_(model[2].bias, -40.0)
    return Training(model, adam(model, 2e-3), shuffled(digits()))


def square_root_at_0(*, cured: bool) -> Training:
    """The norm of an output that is exactly 0: its value is finite, its slope is not."""
    pixels, numbers = digits()
    pixels = pixels.clone()
    pixels[::300] = 0.0
    model = mlp([64, 32, 8])
    loss = lambda o, y: ((o.square().sum(1) + 1e-6 * cured).sqrt() - y / 4).square().mean()  # noqa: E731
    return Training(model, adam(model, 3e-3), shuffled((pixels, numbers.float())), loss)


SICK = {
    slow_with_a_head_at_0: "slow-learning",
    slow_language_model: "slow-learning",
    gelu_net_of_20_layers: "vanishing-gradients",
    forgetful_gru: "vanishing-gradients",
    gates_that_let_nothing_pass: "vanishing-gradients",
    optimizer_of_another_copy: "slow-learning",
    leaky_net_of_14_layers: "exploding-gradients",
    gelu_layer_far_below_0: "dead-units",
    square_root_at_0: "non-finite",
}


@pytest.mark.parametrize(("make", "rule"), SICK.items(), ids=lambda part: getattr(part, "__name__", ""))
def test_what_is_sick_is_named_and_its_cured_twin_is_healthy(make: Callable[..., Training], rule: str) -> None:
    for cured in (False, True):
        torch.manual_seed(0)
        said = serious(make(cured=cured).watched().check().findings)
        assert said == (set() if cured else {rule})


def test_a_hopeless_run_has_its_chance_and_is_ended_by_what_makes_it_hopeless() -> None:
    torch.manual_seed(0)
    scope = gelu_net_of_20_layers(cured=False).watched(stop_on="vanishing-gradients", last_step=43)
    assert scope.run.status is Status.STOPPED
    assert 32 <= scope.run.step_count < 44
