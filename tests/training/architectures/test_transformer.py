from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.training.architectures import transformer
from gradscope.training.build import build
from gradscope.training.trainer import Trainer
from tests.training.architectures.stations import small, trunk, watched

STEPS = 7


def network(**options: Any) -> Any:
    given = {"width": 8, "heads": 2, "layers": 3, "feedforward": 12, **options}
    return transformer.build(transformer.Options.model_validate(given), (STEPS, 3), 4)


def sequences() -> torch.Tensor:
    return torch.randn(5, STEPS, 3)


class Reference(nn.Module):
    """The whole network as one writes it with torch.nn, with the weights of ours."""

    def __init__(self, model: Any, *, norm_first: bool, causal: bool, pool: str, activation: str) -> None:
        super().__init__()
        self.causal, self.pool = causal, pool
        self.embedding = nn.Linear(3, 8)
        self.positions = nn.Parameter(model.positions.weight.detach().clone())
        layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, activation, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 3, nn.LayerNorm(8) if norm_first else None, enable_nested_tensor=False)
        self.head = nn.Linear(8, 4)
        for name in ("embedding", "head"):
            getattr(self, name).load_state_dict(getattr(model, name).state_dict())
        for ours, theirs in zip(model.layers, self.encoder.layers, strict=True):
            theirs.load_state_dict({name: p.detach() for name, p in paired(ours).items()})
        if norm_first:
            self.encoder.norm.load_state_dict(model.norm.state_dict())  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=x.dtype) if self.causal else None
        h = self.encoder(self.embedding(x) + self.positions, mask=mask, is_causal=self.causal)
        y: torch.Tensor = self.head(h.mean(1) if self.pool == "mean" else h[:, -1])
        return y

    def gradients(self) -> dict[str, torch.Tensor]:
        """Of every parameter, under the name that ours has."""
        found = {}
        for name, parameter in self.named_parameters():
            assert parameter.grad is not None, name
            found[name.replace("encoder.", "")] = parameter.grad
        found["positions.weight"] = found.pop("positions")
        return found


def paired(layer: Any, *, gradient: bool = False) -> dict[str, torch.Tensor]:
    """What torch calls the parameters of one of our layers, or their gradients."""

    def of(parameter: Any) -> torch.Tensor:
        found: torch.Tensor = parameter.grad if gradient else parameter
        return found

    attention, feedforward = layer.attention, layer.feedforward
    found = {}
    for kind in ("weight", "bias"):
        parts = (attention.query, attention.key, attention.value)
        found[f"self_attn.in_proj_{kind}"] = torch.cat([of(getattr(part, kind)) for part in parts])
        found[f"self_attn.out_proj.{kind}"] = of(getattr(attention.out, kind))
        found[f"linear1.{kind}"] = of(getattr(feedforward.hidden, kind))
        found[f"linear2.{kind}"] = of(getattr(feedforward.out, kind))
        found[f"norm1.{kind}"] = of(getattr(attention.norm, kind))
        found[f"norm2.{kind}"] = of(getattr(feedforward.norm, kind))
    return found


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize(("norm_first", "causal", "pool"), list(product([True, False], [True, False], ["mean", "last"])))
def test_forward_and_backward_are_those_of_the_network_written_with_torch(
    norm_first: bool, causal: bool, pool: str, activation: str
) -> None:
    # In float64, where the order of the sums changes the 15th digit alone.
    options = {"norm_first": norm_first, "causal": causal, "pool": pool, "activation": activation}
    model = network(**options).double()
    reference = Reference(model, norm_first=norm_first, causal=causal, pool=pool, activation=activation).double()
    x, classes = sequences().double(), torch.randint(4, (5,))
    for net in (model, reference):
        F.cross_entropy(net(x), classes).backward()

    assert torch.allclose(model(x), reference(x), rtol=1e-10, atol=1e-12)
    ours = {name: parameter.grad for name, parameter in model.named_parameters() if not name.startswith("layers.")}
    for i, layer in enumerate(model.layers):
        ours |= {f"layers.{i}.{name}": gradient for name, gradient in paired(layer, gradient=True).items()}
    theirs = reference.gradients()
    assert set(ours) == set(theirs)
    for name, gradient in theirs.items():
        assert gradient.abs().max() > 0, name
        assert torch.allclose(ours[name], gradient, rtol=1e-10, atol=1e-12), name


def test_without_residual_connections_a_branch_replaces_what_it_read() -> None:
    for norm_first in (True, False):
        block = network(residual=False, norm_first=norm_first).layers[0].feedforward
        h = torch.randn(5, STEPS, 8)
        read = block.norm(h) if norm_first else h
        change = block.out(F.gelu(block.hidden(read)))
        assert torch.allclose(block(h), change if norm_first else block.norm(change), atol=1e-6)


def test_the_scale_of_branches_by_depth_counts_both_of_each_layer() -> None:
    model, h = network(residual={"branch_scale": "1/sqrt(depth)"}), torch.randn(5, STEPS, 8)
    block = model.layers[1].feedforward
    assert torch.allclose(block(h), h + block.branch(block.norm(h)) / math.sqrt(6), atol=1e-6)


def test_a_branch_scale_of_zero_starts_as_the_identity_and_learns() -> None:
    model, h = network(residual={"branch_scale": 0.0}, norm="none"), torch.randn(5, STEPS, 8)
    assert torch.equal(model.layers(h), h)
    model.layers(h).square().sum().backward()
    assert model.layers[0].attention.scale.grad.item() != 0.0


def test_a_causal_position_does_not_see_later_ones() -> None:
    model, x = network(causal=True), sequences()
    changed = x.clone()
    changed[:, 4:] += 1.0
    one, other = (model.layers(model.positions(model.embedding(given))) for given in (x, changed))
    assert torch.allclose(one[:, :4], other[:, :4], atol=1e-6)
    assert not torch.allclose(one[:, 4:], other[:, 4:], atol=1e-2)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_the_order_of_a_sequence_matters_only_with_positions(positions: str) -> None:
    torch.manual_seed(0)
    model, x = network(positions=positions), sequences()
    same = torch.allclose(model(x), model(x.flip(1)), atol=1e-5)
    assert same == (positions == "none")


def test_sinusoidal_positions_are_those_of_the_paper_and_no_parameter() -> None:
    model = network(positions="sinusoidal")
    table = model.positions.weight
    for step, pair in product((0, 1, 6), range(4)):
        angle = step / 10_000 ** (2 * pair / 8)
        assert table[step, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[step, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert "positions.weight" not in dict(model.named_parameters())


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"heads": 3}, "heads"),
        ({"width": 7, "heads": 1, "positions": "sinusoidal"}, "positions"),
        ({"bias": False, "init": {"bias": 0.1}}, "init.bias"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        network(**options)


def test_dropout_acts_in_training_alone() -> None:
    model, x = network(dropout=0.5), sequences()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_residual_stream_is_the_trunk(norm_first: bool) -> None:
    model = {"kind": "transformer", "width": 8, "heads": 2, "layers": 2, "feedforward": 8, "norm_first": norm_first}
    run, _ = watched(small(model, {"name": "recall", "length": 6, "batch_size": 16}))
    found = trunk(run)
    stream = [f"layers.{i}.{branch}" for i in range(2) for branch in ("attention", "feedforward")]
    assert [name for name in found if name.removesuffix(".norm") in stream] == (
        stream if norm_first else [f"{name}.norm" for name in stream]
    )
    assert found[0] == "embedding"
    assert found[-1] == "head"
    assert not [name for name in found if name.endswith(("query", "key", "value", "out", "hidden"))]


def test_a_transformer_recalls_the_first_symbol() -> None:
    model = {"kind": "transformer", "width": 16, "heads": 2, "layers": 1, "feedforward": 16}
    data = {"name": "recall", "length": 8, "symbols": 3, "points": 1000, "batch_size": 64}
    trainer = Trainer(build(small(model, data, optimizer={"name": "adam", "lr": 0.01}, training={"steps": 150})))
    for step in range(150):
        trainer.step(step)
    _, accuracy = trainer.validate()
    assert accuracy is not None
    assert accuracy.item() > 0.95
