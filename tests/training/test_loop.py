from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradscope.errors import ConfigError, RecordingWarning, RunFolderError, TrainingError
from gradscope.record.finding import Finding
from gradscope.record.manifest import Status
from gradscope.record.run import Run
from gradscope.record.schema import TABLES
from gradscope.training.build import Setup, build
from gradscope.training.config import Config, load_config
from gradscope.training.loop import RECORDED_STEPS, Progress, cadence, train
from gradscope.training.trainer import Trainer
from tests.training.configs import config


def assert_same_record(one: Run, two: Run) -> None:
    """Every value of every table, bit by bit, ``wall_seconds`` aside."""
    for name, table in TABLES.items():
        for column in table.column_names:
            if column != "wall_seconds":
                assert one.grid(name, column) == two.grid(name, column), (name, column)


def column(run: Run, table: str, name: str) -> np.ndarray[Any, Any]:
    return run.grid(table, name).values[:, 0]


VARIED = [
    {},
    {"model": {"dropout": 0.3, "norm": "batch", "residual": True}, "optimizer": {"name": "adam"}},
    {"training": {"accumulate": 3, "clip_norm": 0.1, "validate_every": 2}},
    {"training": {"precision": "float16", "clip_value": 0.01}},
    {"training": {"precision": "bfloat16"}, "record": {"every": 4}},
    {"model": {"width": 128, "depth": 4}, "training": {"steps": 40}},
]


@pytest.mark.parametrize("changes", VARIED, ids=str)
def test_two_trainings_of_one_config_record_identical_values(changes: dict[str, Any]) -> None:
    one, two = train(config(**changes)), train(config(**changes))
    assert one.step_count > 0
    assert not one.grid("layers", "backward_norm").empty
    assert_same_record(one, two)


def test_when_values_leave_the_device_does_not_change_them() -> None:
    given = config(model={"width": 128}, training={"steps": 80})
    one = train(given, progress=lambda p: p.scope.flush() if p.step in (3, 20, 50) else None)
    two = train(given, progress=lambda p: p.scope.flush() if p.step in (7, 33) else None)
    assert_same_record(one, two)


@pytest.mark.parametrize("changes", VARIED, ids=str)
def test_losses_and_weights_are_bit_identical_without_recording(changes: dict[str, Any]) -> None:
    given = config(**changes)
    weights: list[torch.Tensor] = []

    def keep(setup: Setup) -> None:
        weights.extend(setup.model.parameters())

    watched = train(given, on_setup=keep)
    bare = Trainer(build(given))
    losses, validations = [], {}
    for step in range(given.training.steps):
        losses.append(bare.step(step)[0].item())
        every = given.training.validate_every
        if step == given.training.steps - 1 or (every and step % every == 0):
            validations[step] = [v.item() for v in bare.validate()]
    assert column(watched, "steps", "loss").tolist() == losses
    assert all(torch.equal(a, b) for a, b in zip(weights, bare.model.parameters(), strict=True))
    for name, at in (("validation_loss", 0), ("validation_accuracy", 1)):
        grid = watched.grid("steps", name)
        assert {int(s): v for s, v, there in zip(grid.steps, grid.values[:, 0], grid.present[:, 0], strict=True) if there} == {
            step: values[at] for step, values in validations.items()
        }


def test_the_record_has_the_metrics_the_rate_and_the_clipping_of_each_step() -> None:
    run = train(config(training={"steps": 5, "clip_norm": 0.05, "validate_every": 2}, schedule={"warmup_steps": 4}))
    assert run.status is Status.FINISHED
    assert column(run, "steps", "lr") == pytest.approx([0.0125, 0.025, 0.0375, 0.05, 0.05])
    assert column(run, "steps", "clipped_norm") == pytest.approx([0.05] * 5, rel=1e-3)
    assert run.grid("steps", "validation_loss").present[:, 0].tolist() == [True, False, True, False, True]
    assert ((column(run, "steps", "accuracy") >= 0) & (column(run, "steps", "accuracy") <= 1)).all()


def test_the_recorded_gradient_is_that_of_the_whole_accumulated_batch() -> None:
    given = config(training={"accumulate": 4, "steps": 1})
    run = train(given)
    other = Trainer(build(given))
    x, classes = (torch.cat(parts) for parts in zip(*(other.batches[i] for i in range(4)), strict=True))
    loss = other.setup.loss(other.model(x), classes)
    loss.backward()  # type: ignore[no-untyped-call]
    assert column(run, "steps", "loss")[0] == pytest.approx(loss.item(), rel=1e-6)
    norms = {name: p.grad.norm().item() for name, p in other.model.named_parameters() if p.grad is not None}
    grid = run.grid("parameters", "grad_norm")
    assert dict(zip(grid.names, grid.values[0], strict=True)) == pytest.approx(norms, rel=1e-5)


def test_the_loss_falls_and_the_accuracy_rises() -> None:
    run = train(config(training={"steps": 150}, data={"batch_size": 64}))
    assert column(run, "steps", "loss")[-10:].mean() < 0.5 * column(run, "steps", "loss")[0]
    assert column(run, "steps", "validation_accuracy")[-1] > 0.75


def test_a_run_folder_holds_the_config_as_given_and_as_resolved(tmp_path: Path) -> None:
    text = "# mine\nmodel: {depth: 3, width: 8}\ndata: {name: spirals, points: 60, batch_size: 8}\ntraining: {steps: 2}\n"
    (tmp_path / "given.yaml").write_text(text)
    given = load_config(tmp_path / "given.yaml", ["seed=7"])
    run = train(given, tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() == text
    resolved = load_config(tmp_path / "run" / "config.resolved.yaml")
    assert resolved == given
    assert run.path == tmp_path / "run"
    assert run.manifest.config == given.model_dump(mode="json")
    assert_same_record(run, train(resolved, tmp_path / "again"))


def test_a_folder_that_is_not_empty_is_refused_before_anything_is_built_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    built: list[object] = []
    with pytest.raises(RunFolderError, match="not empty"):
        train(config(), tmp_path, on_setup=built.append)
    assert built == []
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_progress_is_told_after_every_step() -> None:
    seen: list[Progress] = []
    run = train(config(), progress=seen.append)
    assert [(p.step, p.steps) for p in seen] == [(i, 6) for i in range(6)]
    assert [p.loss for p in seen] == column(run, "steps", "loss").tolist()


def test_the_setup_is_shown_before_the_first_step() -> None:
    order: list[str] = []

    def on_setup(setup: Setup) -> None:
        order.append("setup")
        assert setup.sigma_w().keys() == {"layers.0", "layers.1", "head"}
        assert setup.parameter_count == sum(p.numel() for p in setup.model.parameters())

    train(config(), on_setup=on_setup, progress=lambda _: order.append("step"))
    assert order == ["setup", *["step"] * 6]


def test_an_interrupted_training_ends_between_steps_with_a_record_and_a_checkpoint(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    run = train(config(), tmp_path / "run", progress=interrupt)
    assert run.status is Status.INTERRUPTED
    assert run.step_count == 3
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000003.pt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


STUCK = {
    "model": {"depth": 12, "width": 16, "activation": "sigmoid", "init": {"scheme": "xavier_normal"}},
    "training": {"steps": 60},
    "optimizer": {"lr": 0.01},
}


def test_a_finding_that_the_config_names_ends_the_run_at_the_same_step_each_time(tmp_path: Path) -> None:
    named = {**STUCK, "detect": {"stop_on": ["GS101"]}}
    one, two = train(config(**named), tmp_path / "run"), train(config(**named))
    assert one.status is two.status is Status.STOPPED
    assert 0 < one.step_count == two.step_count < 60
    assert (one.manifest.reason or "").startswith("GS101 vanishing-gradients: ")
    assert_same_record(one, two)


def test_findings_are_told_while_it_trains_but_for_the_rules_that_are_not_asked() -> None:
    told: list[Finding] = []
    assert train(config(**STUCK), on_finding=told.append).status is Status.FINISHED
    assert "GS101" in {f.code for f in told}
    told.clear()
    train(config(**STUCK, detect={"ignore": ["vanishing-gradients"]}), on_finding=told.append)
    assert "GS101" not in {f.code for f in told}


def test_an_interrupt_during_the_last_step_comes_too_late() -> None:
    run = train(config(), progress=lambda p: os.kill(os.getpid(), signal.SIGINT) if p.step == 5 else None)
    assert run.status is Status.FINISHED


def test_an_error_ends_the_record_as_failed_and_is_raised(tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        raise RuntimeError("can't allocate memory")

    with pytest.raises(TrainingError, match="out of memory"):
        train(config(), tmp_path / "run", progress=fail)
    from gradscope.record.reader import read_manifest

    assert read_manifest(tmp_path / "run").status is Status.FAILED


def test_a_diverged_training_is_recorded_to_its_end() -> None:
    run = train(config(optimizer={"lr": 1e6}, training={"steps": 20}))
    assert run.status is Status.FINISHED
    assert run.step_count == 20
    assert not np.isfinite(column(run, "steps", "loss")[-1])


def test_training_leaves_the_callers_random_state_alone() -> None:
    state = torch.get_rng_state()
    train(config(model={"dropout": 0.5}))
    assert torch.equal(state, torch.get_rng_state())


def test_data_that_cannot_be_read_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sklearn.datasets

    def missing(**_: object) -> None:
        raise FileNotFoundError("digits.csv.gz")

    monkeypatch.setattr(sklearn.datasets, "load_digits", missing)
    with pytest.raises(TrainingError, match=r"the data set 'digits' cannot be loaded: digits.csv.gz"):
        train(Config.model_validate({"model": {}, "data": {"name": "digits"}, "device": "cpu"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cuda"):
        train(config(device="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_gain_that_theory_does_not_know_is_an_error_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "model: {depth: 3, activation: tanhshrink, init: {gain: critical}}\ndata: {name: spirals, points: 60, batch_size: 8}\n"
    )
    with pytest.raises(ConfigError, match=r"c.yaml:1:\d+: model.init.gain: tanhshrink has no critical gain"):
        train(load_config(tmp_path / "c.yaml"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_lsuv_is_applied_on_the_first_rows_before_training() -> None:
    setup = build(config(model={"depth": 10, "width": 64, "init": {"scheme": "lsuv"}}))
    assert setup.model(setup.first_batch()[0]).var(correction=0).item() == pytest.approx(1, rel=1e-3)
    setup = build(config(model={"depth": 10, "width": 64, "init": {"scheme": "lsuv", "gain": 2.0}}))
    assert setup.model(setup.first_batch()[0]).std(correction=0).item() == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [("auto", 1, 1), ("auto", RECORDED_STEPS, 1), ("auto", RECORDED_STEPS + 1, 2), ("auto", 1_000_000, 100), (7, 50, 7)],
)
def test_the_cadence_is_a_function_of_the_config_alone(every: Any, steps: int, expected: int) -> None:
    assert cadence(config(record={"every": every}, training={"steps": steps})) == expected


def test_a_cadence_by_table_reaches_the_record() -> None:
    run = train(config(record={"every": {"parameters": 2, "layers": 3}}))
    assert run.grid("parameters", "grad_norm").steps.tolist() == [0, 2, 4, 5]
    assert run.grid("layers", "forward_norm").steps.tolist() == [0, 3, 5]
    assert run.grid("steps", "loss").steps.tolist() == list(range(6))


def test_a_compiled_training_records_its_parameters_and_says_what_it_cannot_see(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="aot_eager"))
    with pytest.warns(RecordingWarning, match="compiled"):
        run = train(config(training={"compile": True, "validate_every": 2}))
    plain = train(config(training={"validate_every": 2}))
    assert run.grid("layers", "forward_norm").empty
    ours, theirs = (
        dict(zip(r.grid("parameters", "grad_norm").names, r.grid("parameters", "grad_norm").values.T, strict=True))
        for r in (run, plain)
    )
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == pytest.approx(theirs[name], rel=1e-4) for name in ours)


def test_a_config_without_a_file_is_kept_as_resolved(tmp_path: Path) -> None:
    given: Config = config()
    train(given, tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() == given.to_yaml()
