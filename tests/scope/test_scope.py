"""A training under watch is the same training, and everything that watching put into it is gone afterwards."""

from __future__ import annotations

import copy
import gc
import linecache
import pickle
import sys
import traceback
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradscope
from gradscope.capture.cadence import Adaptive
from gradscope.errors import RecordingWarning, RunFolderError, UsageError
from gradscope.record.manifest import Status
from gradscope.record.schema import LAYERS, PARAMETERS, STEPS
from gradscope.scope import METRICS


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 4))


def cnn() -> nn.Module:
    parts = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


class Former(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.1, batch_first=True, norm_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x[:, None].repeat(1, 3, 1)).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(1, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x[..., None])[0][:, -1])


def train(build: Any, steps: int, watched: bool, **options: Any) -> tuple[list[float], list[Tensor], nn.Module]:
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.randn(12, 6), torch.randint(0, 4, (12,))
    losses: list[float] = []

    def loop(scope: gradscope.Scope | None) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if scope is not None:
                scope.step(loss)
            losses.append(loss.item())

    if watched:
        with gradscope.watch(model, optimizer, **options) as scope:
            loop(scope)
    else:
        loop(None)
    return losses, [p.detach().clone() for p in model.parameters()], model


@pytest.mark.parametrize("build", [mlp, cnn, Former, Recurrent])
@pytest.mark.parametrize("every", [None, 1, 3])
def test_losses_weights_and_random_numbers_are_those_of_the_unwatched_training(build: Any, every: int | None) -> None:
    losses, weights, _ = train(build, 8, watched=False)
    after = torch.rand(3)
    seen_losses, seen_weights, _ = train(build, 8, watched=True, every=every)
    assert losses == seen_losses
    assert all(torch.equal(a, b) for a, b in zip(weights, seen_weights, strict=True))
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize("build", [mlp, cnn, Former, Recurrent])
def test_no_hook_is_left_and_the_model_pickles_and_copies(build: Any) -> None:
    _, _, model = train(build, 3, watched=True, every=1)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    for p in model.parameters():
        assert not p._post_accumulate_grad_hooks
    pickle.loads(pickle.dumps(model))
    copy.deepcopy(model)


def test_between_the_samples_no_module_has_a_hook() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 6)
    with gradscope.watch(model, optimizer, every={"gradients": 1, "layers": 2}) as scope:
        for step in range(4):
            hooked = any(m._forward_hooks for m in model.modules())
            assert hooked == (step % 2 == 0)
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            scope.step(loss)


def test_between_the_samples_two_parameters_alone_have_a_hook_where_norms_are_read_and_none_where_nothing_is() -> None:
    for every in ({"gradients": 1, "layers": 8}, {"gradients": 8, "layers": 8}):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(4, 6)
        with gradscope.watch(model, optimizer, every=every) as scope:
            for step in range(40):
                optimizer.zero_grad()
                loss = model(x).square().mean()
                # that of an accumulator's node is seen by its call alone
                calls: list[str] = []
                sys.setprofile(lambda frame, event, _, calls=calls: calls.append(frame.f_code.co_filename))
                loss.backward()
                sys.setprofile(None)
                mine = [p for p in model.parameters() if p._post_accumulate_grad_hooks]
                if step % 8 and step > 8:
                    assert len(mine) == (2 if every["gradients"] == 1 else 0)
                    assert any(Path(name).parent.name == "capture" for name in calls) == (every["gradients"] == 1)
                optimizer.step()
                scope.step(loss)
        touched = [p for p in model.parameters() if p._post_accumulate_grad_hooks is not None]
        assert len(touched) == 2  # one that was taken away costs a call at each backward for good


def test_nothing_on_the_hot_path_waits_for_the_device() -> None:
    """On the meta device whatever asks for a value raises; several steps of everything must not."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 200), nn.Tanh(), nn.Linear(200, 4)).to("meta")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope = gradscope.watch(model, optimizer, every=1)
    recorder = scope.recorder
    flushed: list[int] = []
    recorder.flush = lambda: flushed.append(1)  # type: ignore[method-assign]  # the flush alone may wait
    with scope:
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(torch.empty(4, 8, device="meta")).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scope.step(loss)
        assert not recorder._broken
        assert recorder.buffer.size > 0
    with pytest.raises((NotImplementedError, RuntimeError)):
        loss.item()


def test_an_error_of_ours_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradscope.capture.parameters import Parameters

    def broken(self: Parameters, **_: Any) -> None:
        raise RuntimeError("made to fail")

    monkeypatch.setattr(Parameters, "measure", broken)
    with pytest.warns(RecordingWarning, match="made to fail"):
        losses, _, model = train(mlp, 4, watched=True, every=1)
    assert len(losses) == 4
    assert not any(m._forward_hooks for m in model.modules())


def test_an_error_of_ours_while_values_are_brought_to_the_host_does_not_end_the_training() -> None:
    def record(scope: gradscope.Scope) -> None:
        for loss in (torch.ones(()), torch.ones((), device="meta"), torch.ones(())):  # one without a value cannot be brought
            scope.step(loss)
            scope.flush()

    with pytest.warns(RecordingWarning, match="recording ended"), gradscope.watch(mlp(), every=1) as scope:
        record(scope)
    assert scope.run.grid("steps", "loss").values.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("theirs"), Status.FAILED), (KeyboardInterrupt(), Status.INTERRUPTED)]
)
def test_an_error_of_theirs_passes_and_is_the_status(error: BaseException, status: Status) -> None:
    model = mlp()
    scope = gradscope.watch(model)
    with pytest.raises(type(error)), scope:
        raise error
    assert scope.run.status is status


def test_a_watch_begun_and_steps_ended_in_inference_mode_record_what_others_do() -> None:
    """As an evaluation's block may do that ends with ``scope.step``."""

    def recorded(inference: bool) -> gradscope.Run:
        torch.manual_seed(0)
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
        with torch.inference_mode(inference):
            scope = gradscope.watch(model, optimizer, every=1).__enter__()
        for k in range(6):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6)).square().mean()
            loss.backward()
            optimizer.step()
            with torch.inference_mode(inference and k % 2 == 0):
                scope.step(loss)
        scope.close()
        return scope.run

    plain, run = recorded(False), recorded(True)
    for table, columns in (("layers", LAYERS.columns), ("parameters", PARAMETERS.columns)):
        for column in columns:
            assert run.grid(table, column.name) == plain.grid(table, column.name)


def test_tensors_of_a_step_die_with_it() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    outputs: list[weakref.ref[Tensor]] = []
    with gradscope.watch(model, optimizer, every=1) as scope:
        for _ in range(3):
            out = model(torch.randn(4, 6))
            outputs.append(weakref.ref(out))
            loss = out.square().mean()
            loss.backward()
            optimizer.step()
            scope.step(loss)
            del out, loss
            gc.collect()
            assert outputs[-1]() is None


def test_the_metrics_of_a_step_are_columns_of_its_table() -> None:
    assert set(METRICS) <= set(STEPS.column_names)
    model = nn.Linear(2, 2)
    with gradscope.watch(model) as scope:
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        scope.step(loss, accuracy=torch.tensor(0.5), validation_loss=2.0, validation_accuracy=None)
    run = scope.run
    assert run.grid("steps", "accuracy").values[0, 0] == 0.5
    assert run.grid("steps", "validation_loss").values[0, 0] == 2.0
    assert run.grid("steps", "validation_accuracy").empty


def test_misuse_is_told() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="Module"):
        gradscope.watch("model")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="every"):
        gradscope.watch(model, every=0)
    with pytest.raises(UsageError, match="layrs"):
        gradscope.watch(model, every={"layrs": 1})
    scope = gradscope.watch(model)
    with pytest.raises(UsageError, match="with"):
        scope.step(1.0)
    with scope:
        with pytest.raises(UsageError, match="one element"):
            scope.step(torch.ones(3))
        with pytest.raises(UsageError, match="perplexity"):
            scope.step(1.0, perplexity=2.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 0}, "positive number of steps"),
        ({"every": "often"}, "a number of steps, or a mapping"),
        ({"every": {"layers": "often"}}, "layers must be 0 .never. or a positive number of steps .got 'often'"),
        ({"overhead": "2%"}, "a share of the step time"),
        ({"optimizer": "adam"}, "optimizer must be .* .got str"),
        ({"optimizer": [nn.Linear(2, 2)]}, "optimizer must be .* .got Linear"),
        ({"scaler": 65536.0}, "scaler must be .* .got float"),
        ({"stop_on": "vanish"}, "did you mean 'vanishing-gradients'"),
    ],
)
def test_arguments_that_cannot_be_leave_no_folder_in_the_way(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gradscope.watch(nn.Linear(2, 2), out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("why", ["another model is trained", "nothing that was watched is trainable"])
def test_a_model_that_no_gradient_reaches_is_not_called_healthy(why: str) -> None:
    trained, watched = nn.Linear(4, 1), nn.Linear(4, 1).requires_grad_("another" in why)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    with gradscope.watch(watched, torch.optim.SGD(watched.parameters(), lr=0.1)) as scope:
        for _ in range(20):
            optimizer.zero_grad()
            loss = trained(torch.ones(8, 4)).square().mean()
            loss.backward()
            optimizer.step()
            scope.step(loss)
    report = scope.check()
    assert report.verdict is gradscope.Verdict.INCONCLUSIVE
    assert why in str(report)


def test_what_takes_the_steps_is_kept_as_it_was_set(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    adam = torch.optim.AdamW(
        [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 3e-4}], lr=torch.tensor(0.5)
    )
    with gradscope.watch(model, adam, out=tmp_path / "adam") as scope:
        pass
    settings = {"name": "AdamW", "lr": 0.5, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "groups": 2}
    for run in (scope.run, gradscope.load_run(tmp_path / "adam")):
        assert {k: v for k, v in run.manifest.optimizer.items() if k in settings} == settings
        assert "amsgrad" not in run.manifest.optimizer
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, [sgd, adam]) as scope:
        pass
    assert scope.run.manifest.optimizer["0"] == {"name": "SGD", "lr": 0.1}
    assert scope.run.manifest.optimizer["1"]["name"] == "AdamW"
    assert gradscope.watch(model).run.manifest.optimizer == {}


def test_a_loop_that_never_calls_step_is_told() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope = gradscope.watch(model, optimizer)
    scope.__enter__()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with pytest.warns(RecordingWarning, match=r"scope\.step\(loss\) comes once after each optimizer\.step\(\)"):
        scope.close()
    assert scope.run.manifest.notes[0].startswith("no step was recorded: ")
    with gradscope.watch(model, optimizer):  # nothing was trained: there is nothing to miss
        pass


class Packed(Recurrent):
    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x[..., None], torch.full((len(x),), x.shape[1]), batch_first=True)
        return self.head(self.rnn(packed)[1][0][-1])


@pytest.mark.parametrize("at", ["loss.backward()", "scope.step(loss)", "scope.close()"])
def test_a_warning_points_at_the_line_of_the_training_that_it_came_from(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever called whom on the way there: torch calls our hooks."""
    from gradscope.capture.parameters import Parameters

    def broken(self: Parameters, **_: Any) -> None:
        raise RuntimeError("made to fail")

    if at == "loss.backward()":
        monkeypatch.setattr(Parameters, "measure", broken)
    model, x = Packed() if at == "scope.step(loss)" else mlp(), torch.randn(12, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope = gradscope.watch(model, optimizer, every=1)
    scope.__enter__()

    def loop() -> None:
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        if at != "scope.close()":
            scope.step(loss)
        scope.close()

    with pytest.warns(RecordingWarning) as told:
        loop()
    (warning,) = told
    assert warning.filename == __file__
    assert at in linecache.getline(warning.filename, warning.lineno)


def test_a_traceback_has_the_hint(tmp_path: Path) -> None:
    with gradscope.watch(nn.Linear(2, 2), out=tmp_path):
        pass
    with pytest.raises(RunFolderError) as error:
        gradscope.watch(nn.Linear(2, 2), out=tmp_path)
    assert "hint: name a folder that does not exist yet, or is empty" in "".join(traceback.format_exception(error.value))


def test_a_run_in_a_folder_is_the_live_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, out=tmp_path / "run", every=1) as scope:
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6)).square().mean()
            loss.backward()
            optimizer.step()
            scope.step(loss)
    assert gradscope.load_run(tmp_path / "run") == scope.run
    assert gradscope.check(gradscope.load_run(tmp_path / "run")).findings == scope.check().findings


def test_the_budget_decides_how_often_is_read() -> None:
    """Simulated: a step of 10 ms, 5 ms to read everything, 0.2 ms for the norms."""
    cadence = Adaptive(0.02)
    counted = {"full": 0, "gradients": 0}
    spent = 0.0
    for step in range(4000):
        plan = cadence.plan(step)
        cost = 0.0 if not plan else 0.0002 if plan == {"gradients"} else 0.005
        counted["gradients" if cost == 0.0002 else "full"] += bool(plan)
        spent += cost
        cadence.account(plan, cost, 0.010 + cost)
        assert plan or step not in Adaptive.ALWAYS
    budget = 0.02 * 4000 * 0.010
    assert spent <= cadence.ALLOWANCE + budget + 0.01
    assert spent >= 0.8 * budget
    assert counted["gradients"] > counted["full"]
    assert np.isclose(sum(cadence.spent.values()), spent)


def test_what_is_left_of_the_allowance_after_the_first_second_is_not_spent_later() -> None:
    """Simulated: a step of 4 ms, 5 ms to read everything; from then on no sample but those that the budget pays."""
    cadence, spent = Adaptive(0.02), np.zeros(2000)
    for step in range(len(spent)):
        plan = cadence.plan(step)
        spent[step] = 0.0 if not plan else 0.0001 if plan == {"gradients"} else 0.005
        cadence.account(plan, spent[step], 0.004 + spent[step])
    first = int(Adaptive.FIRST / 0.004)
    assert 0.3 < spent[:first].sum() < Adaptive.ALLOWANCE
    for until in range(first + 100, len(spent), 100):
        assert spent[first:until].sum() <= 0.02 * 0.004 * until + 0.005


def test_what_is_fresh_is_told_once_and_adds_up_to_the_record():
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(12, 6), torch.randint(0, 4, (12,))
    seen: list[int] = []
    values: list[Any] = []
    with gradscope.watch(model, optimizer, every=1) as scope:
        for step in range(9):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
            if step in (0, 3, 4, 8):
                fresh = scope.fresh().grid("layers", "backward_norm")
                seen += fresh.steps.tolist()
                values.append(fresh.values)
    assert seen == list(range(9))
    assert np.array_equal(np.concatenate(values), scope.run.grid("layers", "backward_norm").values)
