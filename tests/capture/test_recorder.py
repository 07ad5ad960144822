"""Whatever the training loop: each gradient is read at the moment at which it is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.errors import RecordingWarning
from gradscope.record.schema import TABLES
from gradscope.scope import watch
from tests.capture.nets import batches, cross_entropy, mlp
from tests.capture.reference import Eye, Plain, Watched, agree, held, norm, value


def plain_loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
    for x, y in batches(4):
        optimizer.zero_grad()
        loss = cross_entropy(model, x, y)
        loss.backward()
        eye.backward_done()
        eye.before_step()
        optimizer.step()
        eye.step(loss)


def test_a_plain_loop_is_recorded_as_plain_torch_reads_it() -> None:
    held(mlp, plain_loop)


@pytest.mark.parametrize("taken", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Rprop])
def test_true_updates_of_other_optimizers(taken: Any) -> None:
    held(lambda: mlp(nn.ReLU), plain_loop, lambda p: taken(p, lr=0.01))


def test_fused_and_foreach_updates() -> None:
    held(mlp, plain_loop, lambda p: torch.optim.AdamW(p, lr=0.01, fused=True))
    held(mlp, plain_loop, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, foreach=True))


def test_the_learning_rate_is_the_one_that_the_step_was_taken_with() -> None:
    rates = []

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for x, y in batches(4):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
            eye.step(loss)

    run, _ = held(mlp, loop)
    assert [value(run, "steps", "lr", k) for k in range(4)] == rates[:4]


# ---- accumulation


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_accumulated_micro_batches_are_recorded_as_one_big_batch(activation: type[nn.Module]) -> None:
    parts = 3

    def micro(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(4):
            optimizer.zero_grad()
            total = 0.0
            for some, labels in zip(x.chunk(parts), y.chunk(parts), strict=True):
                loss = cross_entropy(model, some, labels) / parts
                loss.backward()
                eye.backward_done()
                total += float(loss.detach())
            eye.before_step()
            optimizer.step()
            eye.step(total)

    def build() -> nn.Module:
        return mlp(activation).double()

    doubled = [(x.double(), y) for x, y in batches(4)]

    def big(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in doubled:
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(activation), micro)
    # and against the big batch itself, in float64 so that the order of the sums does not matter
    torch.manual_seed(0)
    whole = build()
    torch.manual_seed(0)
    parted = build()
    run_whole = recorded(whole, big)

    def micro_double(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in doubled:
            optimizer.zero_grad()
            loss = torch.zeros(())
            for some, labels in zip(x.chunk(parts), y.chunk(parts), strict=True):
                loss = cross_entropy(model, some, labels) / parts
                loss.backward()
            optimizer.step()
            eye.step(0.0)

    run_parted = recorded(parted, micro_double)
    compared = 0
    for table in ("steps", "parameters", "layers"):
        for column in compared_columns(table):
            a, b = run_whole.grid(table, column), run_parted.grid(table, column)
            assert np.array_equal(a.present, b.present), (table, column)
            np.testing.assert_allclose(
                b.values[b.present], a.values[a.present], rtol=1e-6 if table == "layers" else 1e-9, err_msg=f"{table}.{column}"
            )
            compared += int(a.present.sum())
    assert compared > 200


def warned(match: str, train: Any, *watched: Any, **options: Any) -> Any:
    """Trains under a scope that is to warn."""
    with pytest.warns(RecordingWarning, match=match), watch(*watched, every=1, **options) as scope:
        train(scope)
    assert any(match in note for note in scope.run.manifest.notes)
    return scope


def recorded(model: nn.Module, loop: Any, **options: Any) -> Any:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1, **options) as scope:
        loop(model, optimizer, Watched(scope))
    return scope.run


def compared_columns(table: str) -> tuple[str, ...]:
    return tuple(c for c in TABLES[table].column_names if c not in ("loss", "wall_seconds"))


def test_a_step_without_zero_grad_records_what_has_piled_up() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for k, (x, y) in enumerate(batches(5)):
            if k % 2 == 0:
                optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(mlp, loop)


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad_before_and_after_the_step(after: bool, to_none: bool) -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(4):
            if not after:
                optimizer.zero_grad(set_to_none=to_none)
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            if after:
                optimizer.zero_grad(set_to_none=to_none)
            eye.step(loss)

    held(mlp, loop)


# ---- clipping


def clipping_loop(clip: Any) -> Any:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(4):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            clip(list(model.parameters()))
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    return loop


@pytest.mark.parametrize("foreach", [True, False])
def test_a_step_clipped_by_norm_records_both_norms_and_the_coefficient(foreach: bool) -> None:
    run, plain = held(mlp, clipping_loop(lambda p: nn.utils.clip_grad_norm_(p, 0.05, foreach=foreach)))
    assert plain.clipped_total[0] == pytest.approx(0.05, rel=1e-4)
    assert value(run, "steps", "clipped_norm", 0) == pytest.approx(0.05, rel=1e-4)


def test_a_step_clipped_by_value_records_both_norms() -> None:
    run, plain = held(mlp, clipping_loop(lambda p: nn.utils.clip_grad_value_(p, 0.01)))
    assert plain.clipped_total[0] is not None
    assert value(run, "steps", "clip_coefficient", 0) == pytest.approx(plain.clipped_total[0] / plain.total[0])  # type: ignore[operator]


def test_a_limit_that_is_not_reached_clips_nothing() -> None:
    run, _ = held(mlp, clipping_loop(lambda p: nn.utils.clip_grad_norm_(p, 1e6)))
    assert run.grid("steps", "clipped_norm").empty
    assert run.grid("parameters", "clipped_norm").empty


def test_a_clip_of_some_parameters_leaves_the_others_null() -> None:
    run, _ = held(mlp, clipping_loop(lambda p: nn.utils.clip_grad_norm_(p[:2], 1e-3)))
    assert value(run, "parameters", "clipped_norm", 0, ("0.weight", 0)) is not None
    assert value(run, "parameters", "clipped_norm", 0, ("4.weight", 0)) is None


def test_a_gradient_replaced_by_hand_is_read_as_the_optimizer_gets_it() -> None:
    def halve(parameters: list[Tensor]) -> None:
        for p in parameters:
            assert p.grad is not None
            p.grad = p.grad * 0.5

    run, _ = held(mlp, clipping_loop(halve))
    assert value(run, "steps", "clip_coefficient", 2) == pytest.approx(0.5)


def test_a_gradient_that_was_never_accumulated_is_read_at_the_step() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):
            loss = cross_entropy(model, x, y)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            for p, g in zip(model.parameters(), gradients, strict=True):
                p.grad = g
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(mlp, loop, layers=False)


# ---- closures


def closure_loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
    for x, y in batches(3):
        first = True

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            nonlocal first
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            if first:  # the gradient at the weights that the step began with
                eye.backward_done()
                first = False
            elif isinstance(eye, Plain):
                eye.discard_forward()
            return loss

        weights_before(eye)
        loss = optimizer.step(closure)
        eye.step(loss)


def weights_before(eye: Eye) -> None:
    if isinstance(eye, Plain):
        eye._weights = {name: p.detach().clone() for p, name in eye.names.items()}


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_is_recorded_at_the_weights_that_its_step_began_with(search: str | None) -> None:
    held(mlp, closure_loop, lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=4, line_search_fn=search))


@pytest.mark.parametrize("to_none", [True, False])
def test_a_closure_that_leaves_old_gradients_to_its_first_line(to_none: bool) -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad(set_to_none=to_none)
                loss = cross_entropy(model, x, y)
                loss.backward()
                eye.backward_done()
                return loss

            weights_before(eye)
            eye.step(optimizer.step(closure))

    held(mlp, loop, lambda p: torch.optim.Adam(p, lr=0.01))


def test_a_closure_that_accumulates_and_clips() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = torch.zeros(())
                for some, labels in zip(x.chunk(2), y.chunk(2), strict=True):
                    loss = cross_entropy(model, some, labels) / 2
                    loss.backward()
                    eye.backward_done()
                nn.utils.clip_grad_norm_(model.parameters(), 0.05)
                if isinstance(eye, Plain):
                    eye.before_step()
                return loss

            eye.step(optimizer.step(closure))

    held(mlp, loop, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))


# ---- several optimizers


def two_optimizers(parameters: Any) -> list[Any]:
    parameters = list(parameters)
    return [torch.optim.SGD(parameters[:2], lr=0.1), torch.optim.Adam(parameters[2:], lr=0.01)]


def test_several_optimizers_make_one_step() -> None:
    def loop(model: nn.Module, optimizers: Any, eye: Eye) -> None:
        for x, y in batches(4):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            eye.before_step()
            for optimizer in optimizers:
                optimizer.step()
            eye.step(loss)

    held(mlp, loop, two_optimizers)


def test_several_optimizers_clip_each_its_own() -> None:
    def loop(model: nn.Module, optimizers: Any, eye: Eye) -> None:
        for x, y in batches(4):
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            weights_before(eye)
            for limit, optimizer in zip((0.01, 0.02), optimizers, strict=True):
                mine = optimizer.param_groups[0]["params"]
                nn.utils.clip_grad_norm_(mine, limit)
                if isinstance(eye, Plain):
                    for p in mine:
                        eye._clipped[eye.names[p]] = norm(p.grad)
                optimizer.step()
                optimizer.zero_grad()
            eye.step(loss)

    held(mlp, loop, two_optimizers)


class Adversaries(nn.Module):
    """Two nets that train against each other; the root is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = mlp(nn.Tanh, 2, classes=1)
        self.maker = mlp(nn.Tanh, 2, classes=8)


def adversarial_optimizers(model: Adversaries) -> list[Any]:
    return [torch.optim.SGD(model.judge.parameters(), lr=0.1), torch.optim.SGD(model.maker.parameters(), lr=0.1)]


def judged(model: Adversaries, x: Tensor) -> Tensor:
    return F.softplus(model.judge(x)).mean()


@pytest.mark.parametrize("reverse", [True, False])
def test_optimizers_that_alternate_within_a_step_are_read_each_at_its_own(reverse: bool) -> None:
    torch.manual_seed(0)
    model = Adversaries()
    optimizers = adversarial_optimizers(model)
    order = (model.maker, model.judge) if reverse else (model.judge, model.maker)
    expected: list[dict[str, float]] = []

    def train(scope: Any) -> None:
        for x, _ in batches(3):
            norms = {}
            for net in order:
                optimizer = optimizers[0 if net is model.judge else 1]
                optimizer.zero_grad()
                loss = (
                    judged(model, x) - judged(model, model.maker(x).detach())
                    if net is model.judge
                    else judged(model, model.maker(x))
                )
                loss.backward()
                for name, p in net.named_parameters():
                    norms[f"{'judge' if net is model.judge else 'maker'}.{name}"] = norm(p.grad)
                nn.utils.clip_grad_norm_(net.parameters(), 1e6)
                optimizer.step()
            expected.append(norms)
            scope.step(loss)

    scope = warned("output", train, model, optimizers)
    for step, norms in enumerate(expected):
        for name, n in norms.items():
            assert value(scope.run, "parameters", "grad_norm", step, (name, 0)) == pytest.approx(n, rel=1e-9), (step, name)
        assert value(scope.run, "steps", "total_norm", step) == pytest.approx(np.sqrt(sum(n * n for n in norms.values())))
    assert scope.run.grid("steps", "clipped_norm").empty


def test_optimizers_that_take_turns_leave_the_other_ones_gradients_out() -> None:
    torch.manual_seed(0)
    model = Adversaries()
    optimizers = adversarial_optimizers(model)

    def train(scope: Any) -> None:
        for k, (x, _) in enumerate(batches(4)):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = judged(model, model.maker(x))
            loss.backward()  # reaches both nets, whoever's turn it is
            optimizers[k % 2].step()
            mine, other = (model.judge, "maker") if k % 2 == 0 else (model.maker, "judge")
            total = np.sqrt(sum(norm(p.grad) ** 2 for p in mine.parameters()))
            scope.step(loss)
            run = scope.run
            assert value(run, "steps", "total_norm", k) == pytest.approx(total, rel=1e-9)
            assert value(run, "parameters", "grad_norm", k, (f"{other}.0.weight", 0)) is None
            assert value(run, "parameters", "update_norm", k, (f"{other}.0.weight", 0)) == 0.0

    warned("output", train, model, optimizers)


# ---- an optimizer inside backward


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("cleared", [True, False])
def test_an_optimizer_inside_backward(ours_first: bool, cleared: bool) -> None:
    def build() -> tuple[nn.Module, dict[Tensor, Any]]:
        torch.manual_seed(0)
        model = mlp()
        return model, {p: torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in model.parameters()}

    def let_step(model: nn.Module, optimizers: dict[Tensor, Any], seen: dict[str, float] | None = None) -> list[Any]:
        names = {p: n for n, p in model.named_parameters()}

        def hook(p: Tensor) -> None:
            if seen is not None:
                seen[names[p]] = norm(p.grad)  # type: ignore[arg-type]
            optimizers[p].step()
            if cleared:
                optimizers[p].zero_grad()

        return [p.register_post_accumulate_grad_hook(hook) for p in model.parameters()]

    def train(model: nn.Module, step: Any) -> None:
        for x, y in batches(3):
            for p in model.parameters():
                p.grad = None
            loss = cross_entropy(model, x, y)
            loss.backward()
            step(loss)

    model, optimizers = build()
    seen: dict[str, float] = {}
    let_step(model, optimizers, seen)
    expected: list[tuple[dict[str, float], dict[str, Tensor]]] = []
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}

    def read(_: object) -> None:
        nonlocal weights
        now = {n: p.detach().clone() for n, p in model.named_parameters()}
        expected.append((dict(seen), {n: now[n].double() - weights[n].double() for n in now}))
        weights = now

    train(model, read)
    model, optimizers = build()
    if not ours_first:
        let_step(model, optimizers)
    with watch(model, list(optimizers.values()), every=1) as scope:
        if ours_first:
            let_step(model, optimizers)
        train(model, scope.step)
    for step, (norms, updates) in enumerate(expected):
        for name in norms:
            entity = (name, 0)
            assert value(scope.run, "parameters", "grad_norm", step, entity) == pytest.approx(norms[name], rel=1e-9)
            assert value(scope.run, "parameters", "update_norm", step, entity) == pytest.approx(norm(updates[name]), rel=1e-9)
        total = np.sqrt(sum(n * n for n in norms.values()))
        assert value(scope.run, "steps", "total_norm", step) == pytest.approx(total, rel=1e-9)
    assert scope.run.grid("steps", "clipped_norm").empty


def test_an_unwatched_optimizer_inside_backward_is_said_not_guessed() -> None:
    model = mlp()

    def hook(p: Tensor) -> None:
        with torch.no_grad():
            p.sub_(p.grad, alpha=0.1)  # type: ignore[arg-type]
        p.grad = None

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)

    def train(scope: Any) -> None:
        for x, y in batches(3):
            loss = cross_entropy(model, x, y)
            loss.backward()
            scope.step(loss)

    scope = warned("gone", train, model)
    assert scope.run.grid("parameters", "grad_norm").empty


# ---- which parameter tells that a backward ran


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(nn.Tanh, 2, classes=8)
        self.heads = nn.ModuleList([nn.Linear(8, 4), nn.Linear(8, 4)])
        self.which = 0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.heads[self.which](self.body(x))
        return out


def test_tasks_that_alternate_between_heads() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        assert isinstance(model, TwoHeads)
        for k, (x, y) in enumerate(batches(8)):
            model.which = 0 if k < 3 else k % 2
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(TwoHeads, loop, unseen=[(3, ("heads.1", 0))])  # nobody watches a layer that no sample has shown


def test_micro_batches_of_different_heads() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        assert isinstance(model, TwoHeads)
        for x, y in batches(5):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for model.which in (0, 1, 0, 1):
                loss = cross_entropy(model, x, y) / 4
                loss.backward()
                eye.backward_done()
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(TwoHeads, loop)


@pytest.mark.parametrize("clipped", [False, True])
def test_a_second_backward_past_the_parameters_that_tell_is_no_clipping(clipped: bool) -> None:
    """It begins once two parameters are trusted to tell, and reaches neither: absent at that step, then all of them tell."""
    model = TwoHeads()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected: list[dict[str, float]] = []

    def train(*scopes: Any) -> None:
        for k, (x, y) in enumerate(batches(9)):
            optimizer.zero_grad()
            hidden = model.body(x)
            loss = F.cross_entropy(model.heads[0](hidden) + model.heads[1](hidden), y)
            loss.backward()
            if k >= 6:
                F.cross_entropy(model.heads[0](hidden.detach()), y).backward()
            expected.append({n: norm(p.grad) for n, p in model.named_parameters() if p.grad is not None})
            if clipped:
                nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
            for scope in scopes:
                scope.step(loss)

    with (
        pytest.warns(RecordingWarning, match="did not reach the parameter"),
        watch(model, optimizer, every={"parameters": 1}) as scope,
        watch(model, optimizer, every={"parameters": 1}) as beside,
    ):
        train(scope, beside)
    run = scope.run
    assert beside.run.grid("parameters", "grad_norm") == run.grid("parameters", "grad_norm")
    for k, norms in enumerate(expected):
        total = value(run, "steps", "total_norm", k)
        assert total is None if k == 6 else total == pytest.approx(np.linalg.norm(list(norms.values())), rel=1e-9), k
        for name, n in norms.items():
            got = value(run, "parameters", "grad_norm", k, (name, 0))
            assert got is None if k == 6 else got == pytest.approx(n, rel=1e-9), (k, name)
        assert (value(run, "steps", "clipped_norm", k) is not None) == (clipped and k != 6)


def test_a_backward_past_the_parameters_that_tell_is_said_where_no_optimizer_steps_too() -> None:
    model = TwoHeads()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected: list[dict[str, float]] = []

    def train(scope: Any) -> None:
        for k, (x, y) in enumerate(batches(9)):
            model.zero_grad()
            loss = F.cross_entropy(model.heads[1](model.body(x).detach()), y) if k >= 6 else cross_entropy(model, x, y)
            loss.backward()
            expected.append({n: norm(p.grad) for n, p in model.named_parameters() if p.grad is not None})
            scope.step(loss)

    with pytest.warns(RecordingWarning, match="did not reach"), watch(model, optimizer, every={"parameters": 1}) as scope:
        train(scope)
    for k, norms in enumerate(expected):
        for name, n in norms.items():
            got = value(scope.run, "parameters", "grad_norm", k, (name, 0))
            assert got is None if k == 6 else got == pytest.approx(n, rel=1e-9), (k, name)


def test_a_micro_batch_past_the_parameters_that_tell_is_no_half_a_gradient_where_no_optimizer_steps() -> None:
    model = TwoHeads()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train(scope: Any) -> None:
        for k, (x, y) in enumerate(batches(9)):
            model.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            if k >= 6:
                F.cross_entropy(model.heads[1](model.body(x).detach()), y).backward()
            expected = norm(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
            scope.step(loss)
            total = value(scope.run, "steps", "total_norm", k)
            assert total is None if k == 6 else total == pytest.approx(expected, rel=1e-9), k

    with pytest.warns(RecordingWarning, match="did not reach"), watch(model, optimizer, every={"parameters": 1}) as scope:
        train(scope)


def test_old_gradients_in_a_step_without_a_backward_are_no_backward_that_was_missed() -> None:
    model = mlp()
    with watch(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1) as scope:
        for k, (x, y) in enumerate(batches(9)):
            loss = cross_entropy(model, x, y)
            if k % 2 == 0:
                loss.backward()
            scope.step(loss)
    present = scope.run.grid("parameters", "grad_norm").present
    assert present.all(1).tolist() == [True] * 5
    assert scope.run.manifest.notes == ()


@pytest.mark.parametrize("frozen", [0, 4])
def test_a_parameter_that_tells_of_a_backward_may_be_frozen_at_any_step(frozen: int) -> None:
    """The first and the last are trusted: one of them is left."""

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        assert isinstance(model, nn.Sequential)
        for k, (x, y) in enumerate(batches(12)):
            model[frozen].requires_grad_(k < 6)
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(mlp, loop, layers=False)


@pytest.mark.parametrize("gradient", ["none", "replaced"])
def test_a_gradient_that_is_set_after_backward_is_what_the_optimizer_got(gradient: str) -> None:
    """Also where there was none before, and where the new tensor lies at the address of the old one."""
    model = nn.ModuleDict({"used": nn.Linear(8, 4), "unused": nn.Linear(8, 4)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    name = "unused" if gradient == "none" else "used"
    with watch(model, optimizer, every={"parameters": 1}) as scope:
        for _ in range(8):
            optimizer.zero_grad()
            loss = model["used"](torch.randn(12, 8)).square().mean()
            loss.backward()
            for p in model[name].parameters():
                p.grad = None
                p.grad = torch.full_like(p, 3.0)
            optimizer.step()
            scope.step(loss)
    for k in range(8):
        assert value(scope.run, "parameters", "clipped_norm", k, (f"{name}.weight", 0)) == pytest.approx(
            3.0 * 32**0.5, rel=1e-9
        )
        assert value(scope.run, "parameters", "clipped_norm", k, (f"{name}.bias", 0)) == pytest.approx(6.0, rel=1e-9)


def test_a_backward_of_something_else_between_leaves_the_record_whole() -> None:
    """Another model's, after ours and before the step that takes ours as it is."""
    other = mlp()

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(8):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            cross_entropy(other, x, y).backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(mlp, loop)


def test_no_optimizer_at_all_still_gives_the_gradients() -> None:
    model = mlp()
    with watch(model, every=1) as scope:
        for x, y in batches(2):
            model.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            expected = {n: norm(p.grad) for n, p in model.named_parameters() if p.grad is not None}
            scope.step(loss)
    for name, n in expected.items():
        assert value(scope.run, "parameters", "grad_norm", 1, (name, 0)) == pytest.approx(n, rel=1e-9)


def test_the_reference_itself_can_tell_a_wrong_number() -> None:
    """A record of another training does not agree: the comparison is not empty."""
    run, plain = held(mlp, plain_loop)
    plain.parameters[2]["2.weight"]["grad_norm"] *= 1 + 1e-6  # type: ignore[operator]
    with pytest.raises(AssertionError, match="grad_norm"):
        agree(run, plain)
