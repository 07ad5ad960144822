"""Parameters in every state: sparse, tied, frozen, unused, zero, not finite, added, replaced, thawed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.scope import watch
from gradscope.signals.ratios import weight_gradient_ratio
from tests.capture.nets import batches, cross_entropy, mlp
from tests.capture.reference import FLOAT32, Eye, held, norm, value


def plain_loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
    for x, y in batches(5):
        optimizer.zero_grad()
        loss = cross_entropy(model, x, y)
        loss.backward()
        eye.backward_done()
        eye.before_step()
        optimizer.step()
        eye.step(loss)


class Words(nn.Module):
    def __init__(self, vocabulary: int = 50, width: int = 8) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width, sparse=True)
        self.head = nn.Linear(width, 4)

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.head(self.table(words).mean(1))
        return out


@pytest.mark.parametrize("vocabulary", [50, 3000])  # small and large tensors are read in different ways
def test_sparse_gradients(vocabulary: int) -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        g = torch.Generator().manual_seed(3)
        for _ in range(4):
            words, y = torch.randint(0, 50, (6, 5), generator=g), torch.randint(0, 4, (6,), generator=g)
            optimizer.zero_grad()
            loss = cross_entropy(model, words, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: Words(vocabulary), loop, rel=FLOAT32)
    held(lambda: Words(vocabulary), loop, lambda p: torch.optim.SparseAdam(list(p)[:1], lr=0.1), rel=FLOAT32)


def test_the_cosine_of_sparse_gradients_minds_their_rows() -> None:
    model = Words()
    model.head.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=1) as scope:
        for words in ([[1, 2]], [[3, 4]], [[3, 4]]):  # other rows, then the same: orthogonal, then equal
            optimizer.zero_grad()
            loss = cross_entropy(model, torch.tensor(words), torch.tensor([0]))
            loss.backward()
            optimizer.step()
            scope.step(loss)
    assert value(scope.run, "steps", "grad_cosine", 1) == pytest.approx(0.0, abs=1e-12)
    assert value(scope.run, "steps", "grad_cosine", 2) == pytest.approx(1.0)


def test_the_cosine_of_large_sparse_gradients_is_absent_not_wrong() -> None:
    model = Words(3000)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=1) as scope:
        for words in ([[1, 2]], [[3, 4]], [[3, 4]]):
            optimizer.zero_grad()
            loss = cross_entropy(model, torch.tensor(words), torch.tensor([0]))
            loss.backward()
            optimizer.step()
            scope.step(loss)
    assert scope.run.grid("steps", "grad_cosine").empty


def test_the_cosine_of_successive_gradients() -> None:
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    flat: list[Tensor] = []
    with watch(model, optimizer, every=1) as scope:
        for x, y in batches(4):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            flat.append(torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None]))
            optimizer.step()
            scope.step(loss)
    for k in range(1, 4):
        assert value(scope.run, "steps", "grad_cosine", k) == pytest.approx(float(F.cosine_similarity(flat[k - 1], flat[k], 0)))


def test_displacement_and_relative_update() -> None:
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def flat() -> Tensor:
        return torch.cat([p.detach().double().flatten() for p in model.parameters()])

    start = flat()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(4)):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            before = [p.detach().double().clone() for p in matrices]
            optimizer.step()
            scope.step(loss)
            moved = norm(flat() - start)
            updates = sum(norm(p.double() - b) ** 2 for p, b in zip(matrices, before, strict=True))
            floor = sum(max(norm(p) ** 2, p.shape[0]) for p in matrices)
            assert value(scope.run, "steps", "displacement_norm", k) == pytest.approx(moved, rel=1e-9)
            assert value(scope.run, "steps", "displacement", k) == pytest.approx(moved / norm(start), rel=1e-9)
            assert value(scope.run, "steps", "relative_update", k) == pytest.approx((updates / floor) ** 0.5, rel=1e-9)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 30)
        self.head.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.body(self.table(words).mean(1))))
        return out


def test_tied_weights_are_one_parameter_with_one_name() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        g = torch.Generator().manual_seed(3)
        for _ in range(4):
            words, y = torch.randint(0, 30, (6, 5), generator=g), torch.randint(0, 30, (6,), generator=g)
            optimizer.zero_grad()
            loss = cross_entropy(model, words, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    run, _ = held(Tied, loop)
    names = [p.name for p in run.catalogue.parameters]
    assert sorted(names) == ["body.bias", "body.weight", "head.bias", "table.weight"]
    assert {i.name: i.parameters for i in run.catalogue.layers}["head"] == ("table.weight", "head.bias")


class Idle(nn.Module):
    """One layer that is used, one that is not, one that is frozen, one whose gradient is exactly 0."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.silent = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.frozen(torch.relu(self.used(x)))
        out: Tensor = self.head(h + 0.0 * self.silent(h))
        return out


def test_frozen_unused_zero_and_nonfinite_gradients_are_four_states() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for k, (x, y) in enumerate(batches(4)):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            if k == 3:
                loss = loss * float("nan")
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    run, _ = held(Idle, loop)
    at = ("parameters", "grad_norm", 1)
    assert value(run, *at, ("used.weight", 0)) > 0  # type: ignore[operator]
    assert value(run, *at, ("unused.weight", 0)) is None
    assert value(run, "parameters", "frozen", 1, ("unused.weight", 0)) == 0.0
    assert value(run, *at, ("frozen.weight", 0)) is None
    assert value(run, "parameters", "frozen", 1, ("frozen.weight", 0)) == 1.0
    assert value(run, *at, ("silent.weight", 0)) == 0.0
    assert value(run, "parameters", "zero_count", 1, ("silent.weight", 0)) == 64.0
    assert value(run, "parameters", "nonfinite_count", 3, ("used.weight", 0)) == 64.0
    assert np.isnan(value(run, "parameters", "grad_norm", 3, ("used.weight", 0)))  # type: ignore[arg-type]


def test_parameters_that_are_frozen_and_thawed_while_training() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        assert isinstance(model, nn.Sequential)
        for k, (x, y) in enumerate(batches(12)):
            model[0].requires_grad_(k % 4 < 2)
            model[4].requires_grad_(k % 5 != 4)
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(mlp, loop, layers=False)


@pytest.mark.parametrize("how", ["replaced", "grown", "module"])
def test_parameters_that_come_later_are_recorded_from_their_first_step(how: str) -> None:
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(12)):
            if k == 5:  # no power of two: nothing but the change itself tells of it
                mine = optimizer.param_groups[0]["params"]
                if how == "replaced":
                    old, model[2].weight = model[2].weight, nn.Parameter(model[2].weight.detach() * 2)
                    mine[[p is old for p in mine].index(True)] = model[2].weight
                elif how == "grown":
                    model[4] = nn.Linear(8, 6)
                    mine[4:] = list(model[4].parameters())
                else:
                    model.append(nn.Linear(4, 4))
                    optimizer.add_param_group({"params": list(model[5].parameters())})
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            norms = {name: norm(p.grad) for name, p in model.named_parameters() if p.grad is not None}
            optimizer.step()
            scope.step(loss)
            for name, n in norms.items():
                assert value(scope.run, "parameters", "grad_norm", k, (name, 0)) == pytest.approx(n, rel=1e-9), (k, name)
            total = float(np.sqrt(sum(n * n for n in norms.values())))
            assert value(scope.run, "steps", "total_norm", k) == pytest.approx(total, rel=1e-9), k
    if how == "module":
        assert value(scope.run, "parameters", "grad_norm", 4, ("5.weight", 0)) is None
        assert "5.weight" in [p.name for p in scope.run.catalogue.parameters]


def test_what_a_parameter_added_later_leaves_of_the_displacement() -> None:
    torch.manual_seed(0)
    model = mlp()
    start = {p: p.detach().double().clone() for p in model.parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(6)):
            if k == 3:
                model.append(nn.Linear(4, 4))
                optimizer.add_param_group({"params": list(model[5].parameters())})
                start.update({p: p.detach().double().clone() for p in model[5].parameters()})
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
            moved = np.sqrt(sum(norm(p.double() - start[p]) ** 2 for p in model.parameters()))
            began = np.sqrt(sum(norm(start[p]) ** 2 for p in model.parameters()))
            assert value(scope.run, "steps", "displacement_norm", k) == pytest.approx(moved, rel=1e-9)
            assert value(scope.run, "steps", "displacement", k) == pytest.approx(moved / began, rel=1e-9)


class Waves(nn.Module):
    """Complex weights, a buffer of integers and a quantised parameter that never has a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(5, dtype=torch.complex64))
        self.codes = nn.Parameter(torch.arange(20, dtype=torch.uint8), requires_grad=False)
        self.empty = nn.Parameter(torch.empty(0, 3))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.fft.irfft(torch.fft.rfft(x) * self.spectrum, n=8)) + 0.0 * self.empty.sum()
        return out


def test_complex_parameters_have_the_norm_of_both_parts() -> None:
    torch.manual_seed(0)
    model = Waves()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(3)):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            assert model.spectrum.grad is not None
            expected = float(torch.linalg.vector_norm(model.spectrum.grad.to(torch.complex128)))
            before = model.spectrum.detach().clone()
            optimizer.step()
            scope.step(loss)
            update = float(torch.linalg.vector_norm((model.spectrum.detach() - before).to(torch.complex128)))
            entity = ("spectrum", 0)
            assert value(scope.run, "parameters", "grad_norm", k, entity) == pytest.approx(expected, rel=1e-9)
            assert value(scope.run, "parameters", "update_norm", k, entity) == pytest.approx(update, rel=1e-6)
            assert value(scope.run, "parameters", "grad_norm", k, ("empty", 0)) == 0.0
    assert "codes" not in [p.name for p in scope.run.catalogue.parameters]


@pytest.mark.parametrize("size", [5, 9000])  # small and large tensors are read in different ways
def test_an_entry_of_a_complex_gradient_is_counted_once(size: int) -> None:
    weight = nn.Parameter(torch.ones(size, dtype=torch.complex64))
    model = nn.ParameterDict({"w": weight})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every={"parameters": 1}) as scope:
        for first in (3.0 + 4.0j, complex("nan+nanj")):
            weight.grad = torch.arange(size).to(torch.complex64) / size  # one zero, and no imaginary part
            weight.grad[1] = first
            optimizer.step()
            scope.step(0.0)
    found = {name: value(scope.run, "parameters", name, 0, ("w", 0)) for name in ("grad_max", "zero_count", "nonfinite_count")}
    assert found == {"grad_max": 5.0, "zero_count": 1.0, "nonfinite_count": 0.0}
    assert value(scope.run, "parameters", "nonfinite_count", 1, ("w", 0)) == 1.0


@pytest.mark.parametrize("every", [1, {"gradients": 1}], ids=["full", "norms"])
def test_gradients_wider_than_their_parameters_keep_their_range(every: int | dict[str, int]) -> None:
    model = nn.Linear(4, 4)
    for p in model.parameters():
        p.grad_dtype = torch.float64
    expected, cosines = [], []
    past = torch.zeros(20, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=every) as scope:
        for scale in (1.0, 1e-60, 1e60):  # float32 ends at 1e-45 and 1e38
            for p in model.parameters():
                p.grad = scale * torch.randn(p.shape, dtype=torch.float64)
            whole = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            expected.append(float(torch.linalg.vector_norm(whole)))
            cosines.append(float(whole @ past / (torch.linalg.vector_norm(whole) * torch.linalg.vector_norm(past))))
            past = whole
            optimizer.step()
            scope.step(0.0)
    for k, norm_of_all in enumerate(expected):
        assert value(scope.run, "steps", "total_norm", k) == pytest.approx(norm_of_all, rel=1e-9)
        if every == 1 and k:
            assert value(scope.run, "steps", "grad_cosine", k) == pytest.approx(cosines[k], rel=1e-9)


def test_a_parameter_that_is_not_loaded_yet_is_left_out() -> None:
    """It stands on the device without values, beside others that are there."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    model[1].spare = nn.Linear(8, 8, device="meta")  # type: ignore[assignment]
    with watch(model, every=1) as scope:
        for x, y in batches(2):
            model.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            expected = float(torch.linalg.vector_norm(model[0].weight.grad.double()))  # type: ignore[union-attr, arg-type, operator]
            scope.step(loss)
    assert value(scope.run, "parameters", "grad_norm", 1, ("0.weight", 0)) == pytest.approx(expected, rel=1e-9)
    assert {p.layer for p in scope.run.catalogue.parameters} == {"0", "2"}


def test_displacement_is_counted_from_the_first_step_though_no_optimizer_takes_it() -> None:
    torch.manual_seed(0)
    model = mlp()
    start = torch.cat([p.detach().double().flatten() for p in model.parameters()])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every={"parameters": 2}) as scope:
        for k, (x, y) in enumerate(batches(5)):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            if k > 0:
                optimizer.step()
            scope.step(loss)
            far = norm(torch.cat([p.detach().double().flatten() for p in model.parameters()]) - start)
            recorded = value(scope.run, "steps", "displacement_norm", k)
            assert recorded is None if k in (0, 1, 3) else recorded == pytest.approx(far, rel=1e-9), k


def test_a_model_that_becomes_one_of_float64_is_read_in_it() -> None:
    torch.manual_seed(0)
    model = mlp()
    first = {n: p.detach().double() for n, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-7)
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(6)):
            if k == 3:
                model.double()
            optimizer.zero_grad()
            loss = cross_entropy(model, x.to(model[0].weight.dtype), y)  # type: ignore[arg-type, union-attr]
            loss.backward()
            before = {n: p.detach().clone() for n, p in model.named_parameters()}
            optimizer.step()
            scope.step(loss)
            for name, p in model.named_parameters():
                moved = norm(p.detach().double() - before[name].double())
                assert value(scope.run, "parameters", "update_norm", k, (name, 0)) == pytest.approx(moved, rel=1e-9), (k, name)
            far = norm(torch.cat([(p.detach().double() - first[n]).flatten() for n, p in model.named_parameters()]))
            assert value(scope.run, "steps", "displacement_norm", k) == pytest.approx(far, rel=1e-9), k


def test_a_parameter_put_in_another_s_place_without_a_word_is_read_at_once() -> None:
    """As loaders do, past the module's own assignment."""
    torch.manual_seed(0)
    model, norms = mlp(), dict[tuple[int, str], float]()
    with watch(model, every={"gradients": 1}) as scope:
        for k, (x, y) in enumerate(batches(14)):
            if k == 11:
                model[2]._parameters["weight"] = nn.Parameter(3.0 * torch.randn(8, 8))  # type: ignore[union-attr, index]
            model.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            norms |= {(k, name): norm(p.grad) for name, p in model.named_parameters() if p.grad is not None}
            scope.step(loss)
    for (k, name), expected in norms.items():
        assert value(scope.run, "parameters", "grad_norm", k, (name, 0)) == pytest.approx(expected, rel=1e-9), (k, name)


def test_a_parameter_that_changes_its_name_goes_on_under_the_new_one() -> None:
    torch.manual_seed(0)
    model = mlp()
    with watch(model, every=1) as scope:
        for k, (x, y) in enumerate(batches(4)):
            if k == 2:
                del model[1]
                model.append(nn.Identity())
            model.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            scope.step(loss)
    present = {
        n: value(scope.run, "parameters", "grad_norm", 3, (n, 0)) is not None
        for n in scope.run.grid("parameters", "grad_norm").names
    }
    assert {n for n, there in present.items() if there} == {n for n, _ in model.named_parameters()}


def test_a_model_without_parameters_is_watched_in_silence() -> None:
    model = nn.Sequential(nn.Tanh())
    with watch(model, None, every=1) as scope:
        for x, _ in batches(2):
            scope.step(model(x).mean())
    assert scope.run.step_count == 2


def test_the_large_and_the_small_are_read_alike() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 2048), nn.ReLU(), nn.Linear(2048, 16), nn.Tanh(), nn.Linear(16, 4))

    held(build, plain_loop, rel=FLOAT32)


def test_an_optimizer_that_holds_only_some_parameters() -> None:
    held(mlp, plain_loop, lambda p: torch.optim.SGD(list(p)[2:], lr=0.1))


class Attending(nn.Module):
    """A block with attention, whose output weights another module reads: no hook of theirs ever runs."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.linear = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x + self.attend(x, x, x, need_weights=False)[0])
        return out


def test_weights_that_another_module_reads_stand_where_that_one_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), Attending(), nn.Flatten(), nn.Linear(24, 2))
    with watch(model, every=1) as scope:
        loss = model(torch.randn(5, 3, 4)).square().mean()
        loss.backward()
        scope.step(loss)
    names = [p.name for p in scope.run.catalogue.parameters if p.is_matrix]
    attention = ["1.attend.in_proj_weight", "1.attend.out_proj.weight"]
    assert names == ["0.weight", *attention, "1.linear.weight", "3.weight"]
    grads = {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}
    found = weight_gradient_ratio(scope.run)
    assert found.layers == ("0", "1.linear", "3")
    inside = torch.cat([grads[name].flatten() for name in [*attention, "1.linear.weight"]]).norm()
    assert found.values[0, 1] == pytest.approx(float(inside / grads["3.weight"].norm()), rel=FLOAT32)


def test_large_weights_are_copied_to_the_same_place_while_every_step_reads_them_and_let_go_of_after() -> None:
    model = nn.Linear(100, 90)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every={"parameters": 3, "gradients": 1}, last_step=4) as scope:
        places, updates = [], []
        for _ in range(6):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 100)).square().mean()
            loss.backward()
            before = model.weight.detach().clone()
            optimizer.step()
            updates.append(norm(model.weight.detach().double() - before.double()))
            places.append(
                [c.data_ptr() for part in scope.recorder.parameters.of_weights._copies for c in part if c is not None]
            )
            scope.step(loss)
    assert [len(p) for p in places] == [1, 0, 0, 1, 1, 0]
    assert places[3] == places[4]
    for step in (0, 3, 4):
        assert value(scope.run, "parameters", "update_norm", step, ("weight", 0)) == pytest.approx(updates[step], rel=FLOAT32)
