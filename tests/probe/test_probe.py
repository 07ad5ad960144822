"""``gradscope.probe``: theory beside measurement, the verdict to expect, and a model that is left as it was."""

from __future__ import annotations

import copy
import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradscope
from gradscope.errors import UnsupportedError, UsageError
from gradscope.record.finding import Verdict
from gradscope.training.architectures.mlp import Options, build
from gradscope.training.options import Residual
from tests.probe.nets import chain, rows


def mlp(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(Options(**options), (20,), 3)


def test_a_probe_prints_as_the_command_does() -> None:
    model = mlp(depth=12, width=24)
    told = str(gradscope.probe(model, rows(16, 20), F.cross_entropy))
    assert told.splitlines()[0] == f"✓ healthy to expect   {type(model).__name__}   12 layers, untrained"
    assert "theory: every layer is where it is predicted" in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 80


def test_the_gains_multiply_to_the_ratio_and_the_decades_add_up_to_it() -> None:
    model = mlp(depth=12, width=24, activation="tanh").double()
    x, y = rows(16, 20)
    found = gradscope.probe(model, (x.double(), y), F.cross_entropy)
    for before, layer in pairwise(found.layers):
        assert before.ratio is not None
        assert layer.ratio is not None
        assert layer.gain is not None
        assert before.ratio == pytest.approx(layer.gain * layer.ratio, rel=1e-12)
        assert layer.decades is not None
        assert abs(sum(layer.decades.values()) - math.log10(layer.gain)) < 1e-9
    assert found.decades is not None
    assert found.layers[0].ratio is not None
    assert abs(sum(found.decades.values()) - math.log10(found.layers[0].ratio)) < 1e-9


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"activation": "sigmoid"}, Verdict.PATHOLOGICAL),
        ({"activation": "tanh", "init": {"scheme": "xavier_normal", "gain": 0.5}}, Verdict.PATHOLOGICAL),
        ({"activation": "relu", "init": {"scheme": "kaiming_normal", "gain": 3.0}}, Verdict.PATHOLOGICAL),
        ({"activation": "relu"}, Verdict.HEALTHY),
        ({"activation": "tanh", "init": {"gain": "critical"}}, Verdict.HEALTHY),
        ({"activation": "relu", "norm": "layer", "residual": True}, Verdict.HEALTHY),
        ({"activation": "tanh", "residual": True}, Verdict.HEALTHY),
        ({"activation": "relu", "residual": True, "depth": 30, "width": 48}, Verdict.PATHOLOGICAL),
    ],
)
def test_the_verdict_to_expect_is_that_of_the_detectors_thresholds(options: dict[str, Any], verdict: Verdict) -> None:
    model = mlp(**{"depth": 20, "width": 64, **options})
    assert gradscope.probe(model, rows(32, 20), F.cross_entropy).report.verdict is verdict


@pytest.mark.parametrize("depth", [12, 8, 5])
def test_the_reach_is_where_the_ratio_leaves_the_threshold(depth: int) -> None:
    """A linear orthogonal net leaves half a layer: 0.5^6 is above a hundredth, 0.5^7 below. 7 hidden layers and the head."""
    model = chain("linear", 1.0, 0.0, depth=depth, width=128)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight, 0.5)
    found = gradscope.probe(model, rows(16, 128)[0], lambda out: out.square().sum())
    assert found.reach is not None
    assert found.reach.gain == pytest.approx(0.5, rel=1e-4)
    assert (found.reach.layers, found.reach.have) == (8, depth)
    assert found.report.verdict is (Verdict.PATHOLOGICAL if depth > 8 else Verdict.HEALTHY)


def test_what_chance_gives_is_no_trend() -> None:
    """A He net of width 64 strays by less than exp(1.5 sqrt(5 * 18 / 64)) = 5.9 over 20 layers."""
    found = gradscope.probe(mlp(depth=20, width=64, activation="relu"), rows(32, 20), F.cross_entropy)
    assert found.reach is not None
    assert math.isinf(found.reach.layers)
    assert found.to_dict()["reach"]["layers"] is None


def state(model: nn.Module) -> list[Any]:
    gradients = [p.grad for p in model.parameters()]
    return [
        [v.clone() for v in model.state_dict().values()],
        gradients,
        [None if g is None else g.clone() for g in gradients],
        [m.training for m in model.modules()],
        torch.get_rng_state(),
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
    ]


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_bit_for_bit_as_it_was(mode: bool) -> None:
    model = nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)).train(mode)
    x, y = rows(16, 20)
    F.cross_entropy(model(x), y).backward()
    model[4].bias.grad = None
    model[1].training = False
    inputs = x.clone().requires_grad_()
    before = state(model)
    reads = [p._version for p in model.parameters()]
    gradscope.probe(model, (inputs, y), F.cross_entropy)
    after = state(model)
    for a, b in zip(before[0], after[0], strict=True):
        assert torch.equal(a, b)
    assert all(a is b for a, b in zip(before[1], after[1], strict=True))
    for a, b in zip(before[2], after[2], strict=True):
        assert a is b or torch.equal(a, b)
    assert before[3] == after[3]
    assert torch.equal(before[4], after[4])
    assert before[5] == after[5]
    assert reads == [p._version for p in model.parameters()]
    assert inputs.grad is None


def test_a_loss_that_raises_leaves_the_model_as_it_was() -> None:
    model = mlp(depth=3, width=8)
    before = state(model)

    def broken(*_: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gradscope.probe(model, rows(4, 20), broken)
    assert state(model)[5] == before[5]
    assert all(p.grad is None for p in model.parameters())


def test_two_probes_of_one_model_are_the_same() -> None:
    model = mlp(depth=5, width=16, dropout=0.2)
    one, two = (gradscope.probe(model, rows(8, 20), F.cross_entropy) for _ in range(2))
    assert [layer.ratio for layer in one.layers] != []
    torch.manual_seed(3)
    a = gradscope.probe(model, rows(8, 20), F.cross_entropy).to_dict()
    torch.manual_seed(3)
    assert gradscope.probe(model, rows(8, 20), F.cross_entropy).to_dict() == a
    assert one.name == two.name == "PlainNetwork"


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


def test_torchs_default_initialisation_loses_a_sixth_a_layer_and_functions_are_seen() -> None:
    """PyTorch's default weights have sigma_w^2 = 1/3; with ReLU a sixth of the squared norm is left, plus what biases add."""
    found = gradscope.probe(Functional(), rows(32, 64)[0], lambda out: out.square().sum())
    assert found.theory is None
    gain = found.layers[4].predicted
    assert gain is not None
    assert gain.gain == pytest.approx(math.sqrt(1 / 6), rel=0.1)
    assert found.departures == ()
    assert found.attribution.unexplained == ()


def test_a_trained_or_tampered_net_departs_from_theory_and_is_reported() -> None:
    model = chain("tanh", 1.0, 0.0, depth=8, width=128)
    with torch.no_grad():
        model[4].weight.copy_(torch.randn(128, 1) @ torch.randn(1, 128) / 11.3)
    found = gradscope.probe(model, rows(16, 128)[0], lambda out: out.square().sum())
    assert found.theory is None
    assert found.departures


def test_where_theory_has_no_word_it_says_so_and_the_measurement_stands() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    found = gradscope.probe(model, (torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 0])), F.cross_entropy)
    assert found.theory == "it knows no BatchNorm2d (1)"
    assert all(layer.predicted is None for layer in found.layers)
    assert [layer.name for layer in found.layers] == ["0", "4"]
    assert found.layers[0].ratio is not None


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_residual_blocks_are_described_with_their_branch_scale(norm: str) -> None:
    model = mlp(depth=10, width=256, activation="relu", norm=norm, residual=Residual(branch_scale=0.5))
    found = gradscope.probe(model, rows(64, 20), F.cross_entropy)
    assert found.theory is None
    assert len(found.to_dict()["blocks"]) == 8
    assert found.departures == ()


class Followed(nn.Module):
    def __init__(self, after: Any) -> None:
        super().__init__()
        self.branch, self.after = nn.Linear(20, 20), after

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(x + self.branch(x))
        return out


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (nn.ReLU(), "the residual block that ends in 1.after puts it after the sum"),
        (torch.relu, "the residual block 1 puts ReLU after the sum"),
    ],
)
def test_an_activation_after_a_blocks_sum_is_attributed_but_not_predicted(after: Any, why: str) -> None:
    blocks = (Followed(copy.deepcopy(after)) for _ in range(2))
    found = gradscope.probe(nn.Sequential(nn.Linear(20, 20), *blocks, nn.Linear(20, 3)), rows(8, 20), F.cross_entropy)
    assert found.attribution.unexplained == ()
    assert found.theory == why
    assert found.layers[0].predicted is None


def test_what_it_gives_is_json_without_numbers_that_json_lacks() -> None:
    model = mlp(depth=4, width=8)
    with torch.no_grad():
        model.layers[1].weight.zero_()
    found = gradscope.probe(model, rows(8, 20), F.cross_entropy, name="dead")
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["name"] == "dead"
    assert data["decades"] is None
    assert data["reach"] is None
    assert data["layers"][0]["ratio"] == 0.0


def test_a_model_without_layers_or_with_one_is_probed_too() -> None:
    found = gradscope.probe(nn.Linear(20, 3), rows(8, 20), F.cross_entropy)
    assert found.report.verdict is Verdict.HEALTHY
    assert found.reach is None


@pytest.mark.parametrize(
    ("batch", "loss", "message"),
    [
        (torch.ones(2, 20), lambda out: out, "must give a tensor of one element"),
        (torch.ones(2, 20), lambda out: 1.0, "must give a tensor of one element"),
        ((torch.ones(2, 20), 1, 2), lambda out: out.sum(), "a batch is \\(inputs, targets\\) or inputs alone"),
        (torch.ones(2, 20), lambda out: out.sum().detach(), "depends on no parameter"),
    ],
)
def test_what_cannot_be_probed_says_why(batch: Any, loss: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gradscope.probe(mlp(depth=3, width=8), batch, loss)
    with pytest.raises(UsageError, match=r"must be a torch\.nn\.Module"):
        gradscope.probe(F.relu, batch, loss)  # type: ignore[arg-type]


def test_a_parameter_without_shape_or_with_a_hook_of_its_own_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="has no shape yet"):
        gradscope.probe(nn.LazyLinear(3), rows(4, 20), F.cross_entropy)
    model = mlp(depth=3, width=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    next(model.parameters()).register_post_accumulate_grad_hook(lambda _: optimizer.step())
    kept = copy.deepcopy(model.state_dict())
    with pytest.raises(UnsupportedError, match="a hook that runs when its gradient arrives"):
        gradscope.probe(model, rows(4, 20), F.cross_entropy)
    assert all(torch.equal(kept[k], v) for k, v in model.state_dict().items())


def test_inputs_may_be_several_arguments_or_named_ones() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 4)
            self.b = nn.Linear(4, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            out: Tensor = self.b(self.a(x)) * y
            return out

    x, y = torch.ones(5, 3), torch.ones(5, 2)
    named = gradscope.probe(Two(), {"x": x, "y": y}, lambda out: out.sum())
    placed = gradscope.probe(Two(), ((x, y), y), lambda out, target: (out - target).square().sum())
    assert len(named.layers) == len(placed.layers) == 2


def test_importing_the_room_first_leaves_the_public_name_a_function() -> None:
    import gradscope.probe.probe

    assert callable(gradscope.probe)
