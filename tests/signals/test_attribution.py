"""Attribution: exact in float64, and the residual identity against an independent product of vector and Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradscope
from gradscope.record.run import Run
from gradscope.signals.attribution import KINDS, attribution, told
from gradscope.training.architectures.mlp import Options, build
from gradscope.training.options import Residual
from tests.render.cases import case

EXACT = 1e-9
"""Decades; sums of some 60 logarithms in float64 err by 1e-14."""


def recorded(model: nn.Module, x: Tensor) -> Run:
    with gradscope.watch(model, every=1) as scope:
        loss = model(x).square().sum()
        loss.backward()
        scope.step(loss)
    return scope.run


def net(seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return build(Options(depth=10, width=12, **options), (6,), 3).double()


def batch() -> Tensor:
    return torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def parts(run: Run) -> dict[str, float]:
    return dict(zip(KINDS, attribution(run).total[0].tolist(), strict=True))


def assert_sums(run: Run) -> None:
    """Against the norms as they stand in the table, not by way of any profile."""
    grid = run.grid("layers", "backward_norm")
    norms = {name: grid.values[0, i] for i, (name, _) in enumerate(grid.entities)}
    stations = [layer.name for layer in run.catalogue.layers if layer.trunk]
    found = attribution(run)
    assert abs(found.end_to_end[0] - np.log10(norms[stations[0]] / norms[stations[-1]])) < EXACT
    for i, (a, b) in enumerate(pairwise(stations)):
        assert abs(found.decades[0, i].sum() - np.log10(norms[a] / norms[b])) < EXACT


PLAIN = [
    {"activation": a, "norm": n, "bias": b}
    for a, n, b in (
        ("sigmoid", "none", True),
        ("relu", "none", False),
        ("tanh", "layer", True),
        ("gelu", "batch", True),
        ("leaky_relu", "rms", True),
        ("prelu", "none", True),
    )
]


@pytest.mark.parametrize("options", PLAIN, ids=lambda o: f"{o['activation']}-{o['norm']}")
def test_the_decades_of_a_plain_net_add_up_and_nothing_is_left_over(options: dict[str, object]) -> None:
    run = recorded(net(**options), batch())
    assert_sums(run)
    found = parts(run)
    assert attribution(run).unexplained == ()
    assert abs(found["other"]) < EXACT
    assert found["skip"] == 0.0
    assert (found["norm"] != 0.0) == (options["norm"] != "none")


RESIDUAL = [
    (norm, scale, activation)
    for norm in ("none", "layer", "batch")
    for scale in (1.0, "1/sqrt(depth)")
    for activation in ("relu", "tanh")
]


@pytest.mark.parametrize(("norm", "scale", "activation"), RESIDUAL)
def test_a_residual_block_is_identity_branch_and_cross_term(norm: str, scale: float | str, activation: str) -> None:
    """gamma, g_F and cos of every block against torch.autograd.grad on the branch alone."""
    model = net(norm=norm, activation=activation, residual=Residual(branch_scale=scale))
    run = recorded(model, batch())
    assert_sums(run)
    found = attribution(run)
    assert found.blocks == tuple(f"layers.{i}" for i in range(1, 9))
    stream = [model.layers[0](batch())]
    for block in list(model.layers)[1:]:
        stream.append(block(stream[-1]))
    out = model.head(stream[-1] if model.norm is None else model.norm(stream[-1]))
    gradients = torch.autograd.grad(out.square().sum(), stream)
    for i, name in enumerate(found.blocks):
        block = model.layers[i + 1]
        h = stream[i].detach().requires_grad_()
        (back,) = torch.autograd.grad(block(h) - h, h, gradients[i + 1])
        at, arriving = found.layers.index(name), gradients[i + 1].norm()
        angle = (back * gradients[i + 1]).sum() / (back.norm() * arriving)
        assert abs(found.branch[0, at] - (back.norm() / arriving).item()) < 1e-9
        assert abs(found.cosine[0, at] - angle.item()) < 1e-9
        gamma = gradients[i].norm() / arriving
        assert abs(1 + found.branch[0, at] ** 2 + found.cross[0, at] - gamma.item() ** 2) < 1e-9
        assert abs(found.inside[0, at].sum() - np.log10(found.branch[0, at])) < EXACT


def test_the_scale_of_a_branch_stands_beside_its_weights() -> None:
    found = attribution(recorded(net(residual=Residual(branch_scale=0.25)), batch()))
    assert np.allclose(found.inside[0, :8, KINDS.index("other")], np.log10(0.25), atol=EXACT)


def test_a_branch_that_starts_at_zero_leaves_the_identity() -> None:
    found = attribution(recorded(net(residual=Residual(branch_scale=0)), batch()))
    assert found.blocks == tuple(f"layers.{i}" for i in range(1, 9))
    assert np.nanmax(found.branch) == 0.0
    assert np.allclose(found.decades[0, :8], 0.0, atol=EXACT)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 9))
        self.after = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(x + self.branch(x))
        return out


def test_an_activation_after_the_sum_stands_beside_the_block() -> None:
    """Blocks as those of He et al. 2016, against the gradient of the branch alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), Block(), Block(), nn.Linear(9, 2)).double()
    run = recorded(model, batch())
    assert_sums(run)
    found = attribution(run)
    assert found.unexplained == ()
    stem = model[0](batch())
    sums = stem + model[1].branch(stem)
    out = model[3](model[2](model[1].after(sums)))
    at_stem, at_sum = torch.autograd.grad(out.square().sum(), (stem, sums))
    h = stem.detach().requires_grad_()
    (back,) = torch.autograd.grad(model[1].branch(h), h, at_sum)
    assert abs(found.branch[0, 0] - (back.norm() / at_sum.norm()).item()) < 1e-9
    assert abs(found.cosine[0, 0] - ((back * at_sum).sum() / (back.norm() * at_sum.norm())).item()) < 1e-9
    assert abs(found.decades[0, 0, KINDS.index("skip")] - np.log10((at_stem.norm() / at_sum.norm()).item())) < EXACT
    assert found.decades[0, 0, KINDS.index("activation")] < 0.0


class Basic(nn.Module):
    """As most code has the blocks of He et al. 2016: every activation a function, a projection where the width changes."""

    def __init__(self, inputs: int, outputs: int, scale: float = 1.0) -> None:
        super().__init__()
        self.one, self.norm1, self.two = nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.Linear(outputs, outputs)
        self.down = nn.Linear(inputs, outputs) if inputs != outputs else None
        self.scale = scale

    def branch(self, x: Tensor) -> Tensor:
        out: Tensor = (
            self.scale * self.two(F.relu(self.norm1(self.one(x))))
            if self.scale != 1.0
            else self.two(F.relu(self.norm1(self.one(x))))
        )
        return out

    def past(self, x: Tensor) -> Tensor:
        return x if self.down is None else self.down(x)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.past(x))


def test_an_activation_that_is_a_function_after_the_sum_stands_beside_the_block() -> None:
    """The gradient at the sum is that of the branch's last layer, which it takes as it is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), Basic(9, 9), Basic(9, 12), Basic(12, 12), nn.Linear(12, 2)).double()
    run = recorded(model, batch())
    assert_sums(run)
    found = attribution(run)
    assert found.unexplained == ()
    assert found.blocks == ("1", "2", "3")
    h = model[0](batch())
    stream, sums = [h], []
    for block in (model[1], model[2], model[3]):
        sums.append(block.branch(h) + block.past(h))
        h = F.relu(sums[-1])
        stream.append(h)
    gradients = torch.autograd.grad(model[4](h).square().sum(), (*stream, *sums))
    at_stream, at_sums = gradients[:4], gradients[4:]
    for i, name in enumerate(found.blocks):
        at, block = found.layers.index(name), model[i + 1]
        x = stream[i].detach().requires_grad_()
        (back,) = torch.autograd.grad(block.branch(x), x, at_sums[i])
        (past,) = torch.autograd.grad(block.past(x), x, at_sums[i])
        arriving = at_sums[i].norm()
        assert abs(found.branch[0, at] - (back.norm() / arriving).item()) < 1e-9
        assert abs(found.past[0, at] - (past.norm() / arriving).item()) < 1e-9
        assert abs(found.cosine[0, at] - ((back * past).sum() / (back.norm() * past.norm())).item()) < 1e-9
        kinds = dict(zip(KINDS, found.decades[0, at].tolist(), strict=True))
        assert abs(kinds["skip"] - np.log10((at_stream[i].norm() / arriving).item())) < EXACT
        assert abs(kinds["activation"] - np.log10((arriving / at_stream[i + 1].norm()).item())) < EXACT
        assert kinds["other"] == 0.0


def test_a_stream_that_the_next_block_activates_is_told_from_one_that_its_own_block_did() -> None:
    """Tanhshrink reads its input twice, once through tanh: that is the next block's, and the sum is the block's output."""

    class Pre(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(9, 9)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x + self.linear(torch.tanh(x))
            return out

    torch.manual_seed(0)
    run = recorded(nn.Sequential(nn.Linear(6, 9), Pre(), Pre(), nn.Linear(9, 2)).double(), batch())
    assert_sums(run)
    found = attribution(run)
    assert {info.name: (info.function, info.ends_in) for info in run.catalogue.layers}["1"] == ("Tanh", None)
    assert not any("sum in" in why for _, why in found.unexplained)


def test_the_sum_of_a_scaled_branch_before_a_function_is_not_recorded() -> None:
    torch.manual_seed(0)
    run = recorded(nn.Sequential(nn.Linear(6, 9), Basic(9, 9, 0.5), nn.Linear(9, 2)).double(), batch())
    assert_sums(run)
    assert attribution(run).unexplained == (("1", "the gradient at the sum in 1 cannot be told"),)


class Functional(nn.Module):
    """Activations called as functions, as most code has them."""

    def __init__(self, phi: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 2)
        self.phi = phi

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(self.phi(self.b(self.phi(self.a(x)))))
        return out


def test_an_activation_called_as_a_function_is_told_from_the_weights() -> None:
    model = Functional(torch.tanh).double()
    run = recorded(model, batch())
    assert_sums(run)
    h = model.a(batch())
    j = model.b(torch.tanh(h))
    delta_j = torch.autograd.grad(model.c(torch.tanh(j)).square().sum(), j)[0]
    weight = (delta_j @ model.b.weight).norm() / delta_j.norm()
    found = attribution(run)
    assert found.unexplained == ()
    assert abs(found.decades[0, 0, 0] - np.log10(weight.item())) < EXACT


class Summed(Functional):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        out: Tensor = self.c(h + self.b(F.relu(h)) * self.b(h))
        return out


def test_what_the_record_does_not_show_is_other_and_says_why() -> None:
    run = recorded(Summed(torch.relu).double(), batch())
    assert_sums(run)
    found = attribution(run)
    assert found.decades[0, :, KINDS.index("other")] == pytest.approx(found.decades[0].sum(axis=1))
    assert [name for name, _ in found.unexplained] == ["c"]
    assert "b is called more than once" in found.unexplained[0][1]


class Gated(nn.Module):
    """Its input is scaled before it is added, so that the way past the branch has no gain of 1."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.linear, self.share = nn.Linear(9, 9), share

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.share * x + self.linear(x)
        return out


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_block_that_does_not_add_its_input_as_it_is_is_left_untold(share: float) -> None:
    torch.manual_seed(0)
    run = recorded(nn.Sequential(nn.Linear(6, 9), Gated(share), nn.Linear(9, 2)).double(), batch())
    assert_sums(run)
    found = attribution(run)
    assert found.blocks == ()
    assert found.unexplained == (("1", "at 1 (Gated) the input is not added as it is"),)


class TwoBranches(nn.Module):
    """As a block of a transformer is often written: two sums in one forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(9) for _ in range(2))
        self.linears = nn.ModuleList(nn.Linear(9, 9) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for norm, linear in zip(self.norms, self.linears, strict=True):
            x = x + linear(norm(x))
        return x


def test_a_block_of_two_branches_is_left_untold_and_it_is_said_which_sum_is_in_the_way() -> None:
    torch.manual_seed(0)
    run = recorded(nn.Sequential(nn.Linear(6, 9), TwoBranches(), nn.Linear(9, 2)).double(), batch())
    assert_sums(run)
    told = "1 (TwoBranches) has several sums, and the one in front of 1.norms.1 is no module's output"
    assert attribution(run).unexplained == (("1", told),)


class Attending(nn.Module):
    """Attention over the rows of a batch without a norm in front: three layers read the stream that is added."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(9, 9) for _ in range(4))
        self.norm = after

    def forward(self, x: Tensor) -> Tensor:
        mixed = (self.query(x) @ self.key(x).T / 3.0).softmax(dim=1) @ self.value(x)
        out: Tensor = self.norm(x + self.out(mixed))
        return out


@pytest.mark.parametrize("after", [nn.LayerNorm(9), nn.Identity(), nn.Tanh()], ids=["norm", "nothing", "tanh"])
def test_attention_without_a_norm_in_front_is_a_block_whose_branch_alone_is_not_told(after: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), Attending(after), nn.Linear(9, 2)).double()
    run = recorded(model, batch())
    assert_sums(run)
    found = attribution(run)
    block = model[1]
    x = model[0](batch()).detach().requires_grad_(True)
    mixed = (block.query(x) @ block.key(x).T / 3.0).softmax(dim=1) @ block.value(x)
    total = x + block.out(mixed)
    end = block.norm(total)
    loss = model[2](end).square().sum()
    at_end, at_sum, at_x = torch.autograd.grad(loss, [end, total, x])
    told = dict(zip(KINDS, found.decades[0, 0], strict=True))
    assert abs(told["skip"] - float((at_x.norm() / at_sum.norm()).log10())) < EXACT
    kind = {"LayerNorm": "norm", "Tanh": "activation"}.get(type(after).__name__)
    if kind:
        assert abs(told[kind] - float((at_sum.norm() / at_end.norm()).log10())) < EXACT
    assert told["other"] == 0.0
    assert found.unexplained == ()
    assert found.past[0, 0] == 1.0
    assert np.isnan(found.branch[0, 0])


class Mixing(nn.Module):
    """Two layers read the stream as well, but what they are added to is another one's."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.past = (nn.Linear(9, 9) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.past(x) + self.one(x) * self.other(x)
        return out


def test_where_the_stream_is_not_added_as_it_is_several_readers_make_no_block() -> None:
    torch.manual_seed(0)
    run = recorded(nn.Sequential(nn.Linear(6, 9), Mixing(), nn.Linear(9, 2)).double(), batch())
    assert_sums(run)
    found = attribution(run)
    assert found.blocks == ()
    assert [name for name, _ in found.unexplained] == ["1"]


def test_dropout_is_told_from_the_weights_and_the_activations() -> None:
    run = recorded(net(dropout=0.3, activation="tanh"), batch())
    assert_sums(run)
    found = attribution(run)
    assert found.unexplained == ()
    told = dict(zip(KINDS, found.decades[0].T, strict=True))
    assert (told["activation"] < 0.0).all()
    assert (told["weight"] != 0.0).all()
    assert (told["other"] == 0.0).all()
    sizes = np.abs(told["fixed"])
    assert ((sizes > 0.0) & (sizes < 0.3)).all()  # a factor of 1 / 0.7 for what is kept, sqrt(0.7) for how much of it


class Dropped(Functional):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(F.dropout(self.phi(self.b(F.dropout(self.phi(self.a(x))))), 0.2))
        return out


def test_an_activation_and_a_dropout_that_are_both_functions_cannot_be_told_apart() -> None:
    run = recorded(Dropped(torch.tanh).double(), batch())
    assert_sums(run)
    found = attribution(run)
    told = dict(zip(KINDS, found.decades[0].T, strict=True))
    assert (told["activation"] == 0.0).all()
    assert (told["other"] != 0.0).all()
    assert [why for _, why in found.unexplained] == [
        f"in front of {name} stands something that is not recorded: activation and product together" for name in ("b", "c")
    ]


def test_a_block_that_follows_the_norm_of_the_one_before_is_told() -> None:
    """Post-norm with its norms outside of the blocks: the link is a norm, then the block."""

    class Plus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.phi, self.two = nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 9)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x + 0.5 * self.two(self.phi(self.one(x)))
            return out

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), Plus(), nn.LayerNorm(9), Plus(), nn.LayerNorm(9), nn.Linear(9, 2)).double()
    run = recorded(model, batch())
    assert_sums(run)
    found = attribution(run)
    assert found.unexplained == ()
    assert found.blocks == ("1", "3")
    stream = [model[0](batch())]
    for module in list(model)[1:]:
        stream.append(module(stream[-1]))
    first, normed, second = torch.autograd.grad(stream[-1].square().sum(), (stream[1], stream[2], stream[3]))
    at = found.layers.index("3")
    assert abs(found.decades[0, at, KINDS.index("norm")] - np.log10((first.norm() / normed.norm()).item())) < EXACT
    assert abs(found.decades[0, at, KINDS.index("skip")] - np.log10((normed.norm() / second.norm()).item())) < EXACT
    h = stream[2].detach().requires_grad_()
    (back,) = torch.autograd.grad(model[3](h) - h, h, second)
    assert abs(found.branch[0, at] - (back.norm() / second.norm()).item()) < 1e-9
    assert np.allclose(found.inside[0, at, KINDS.index("other")], np.log10(0.5), atol=EXACT)


def test_a_branch_whose_input_is_dropped_first_is_left_untold() -> None:
    """The gradient behind the dropout is recorded, that in front of it, which the sum takes, is not."""

    class Plus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.linear = nn.Dropout(0.4), nn.Linear(9, 9)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x + self.linear(self.drop(x))
            return out

    torch.manual_seed(0)
    run = recorded(nn.Sequential(nn.Linear(6, 9), Plus(), nn.Linear(9, 2)).double(), batch())
    assert_sums(run)
    found = attribution(run)
    assert found.unexplained == (("1", "the gradient at the input of 1.linear cannot be told"),)


def test_a_stretch_has_its_links_alone_and_adds_up_to_its_own_ratio() -> None:
    run = recorded(net(activation="sigmoid"), batch())
    whole = attribution(run)
    part = attribution(run, 0).between("layers.2", "layers.5")
    assert part.layers == ("layers.3", "layers.4", "layers.5")
    assert np.array_equal(part.decades, whole.decades[:, 2:5])
    norms = run.grid("layers", "backward_norm")
    ratio = norms.values[0, norms.names.index("layers.2")] / norms.values[0, norms.names.index("layers.5")]
    assert abs(part.end_to_end[0] - np.log10(ratio)) < EXACT
    with pytest.raises(ValueError, match="does not come after"):
        whole.between("layers.5", "layers.2")
    assert attribution(run, 7).decades.shape[0] == 0


def test_a_run_without_layers_has_nothing_to_attribute() -> None:
    from tests.signals.makers import chain

    found = attribution(chain(steps={"loss": [1.0]}, names=()))
    assert found.layers == ()


def test_a_gradient_that_is_zero_or_not_finite_has_no_decades() -> None:
    from tests.signals.makers import chain

    run = chain({"backward_norm": [[0.0, 1.0, 1.0], [1.0, np.inf, 1.0], [0.1, 1.0, 1.0]]})
    found = attribution(run)
    assert found.present.tolist() == [[False, True], [False, False], [True, True]]
    assert np.isnan(found.end_to_end).tolist() == [True, True, False]
    assert found.end_to_end[2] == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["vanishing", "exploding", "dead", "thousand", "recurrent", "one-layer", "seldom"])
def test_which_links_are_told_at_which_steps_is_known_without_their_decades(name: str) -> None:
    run, _ = case(name)
    whole, (steps, links) = attribution(run), told(run)
    assert np.array_equal(steps, whole.steps)
    assert np.array_equal(links, whole.present)
    some = steps[[0, len(steps) // 2, -1]]
    found = attribution(run, some)
    rows = np.searchsorted(steps, np.unique(some))
    assert np.array_equal(found.steps, np.unique(some))
    assert np.array_equal(found.decades, whole.decades[rows], equal_nan=True)
    assert found.unexplained == whole.unexplained
