"""A whole sweep from the command line: trained once, gone on with, tabulated."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from gradscope.record.lock import WriterLock
from gradscope.record.reader import load_run
from gradscope.record.run import Run
from gradscope.signals.scalars import measured
from gradscope.sweep.carry_out import carry_out
from gradscope.sweep.judge import judged
from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.table import read_table
from gradscope.training.config import load_config
from gradscope.training.loop import train
from tests import synthetic
from tests.cli.conftest import gradscope, interrupted
from tests.sweep.conftest import SWEEP


def test_pandas_reads_the_table_in_one_line(swept: Path) -> None:
    table = pandas.read_parquet(swept / "results.parquet")
    assert len(table) == 16
    assert list(table.columns[:8]) == [
        "model.depth", "model.activation", "schedule.warmup_steps", "seed",
        "verdict", "codes", "loss", "initial_backward_ratio",
    ]  # fmt: skip
    sick = table[(table["model.depth"] == 20) & (table["model.activation"] == "sigmoid") & (table["end"] == "finished")]
    assert set(sick["verdict"]) == {"pathological"}
    assert sick["codes"].str.contains("GS101").all()
    assert (sick["initial_backward_ratio"] < 1e-6).all()
    refused = table[table["end"] == "refused"]
    assert len(refused) == 8
    assert refused["loss"].isna().all()
    assert refused["reason"].str.startswith("schedule.warmup_steps: longer than the training").all()


def test_each_number_is_that_of_the_points_own_run(swept: Path) -> None:
    for row in read_table(swept).rows:
        if row.run:
            run = load_run(swept / row.run)
            assert run.status == "finished"
            assert {k: repr(v) for k, v in measured(run).items()} == {k: repr(v) for k, v in row.outcome.numbers.items()}


def test_a_point_trains_what_run_trains(swept: Path) -> None:
    overrides = ["model.depth=20", "model.activation=sigmoid", "model.init.scheme=xavier_normal", "seed=1"]
    alone = train(load_config(swept.parents[1] / "base.yaml", overrides))
    at = {"model.depth": 20, "model.activation": "sigmoid", "schedule.warmup_steps": 0, "seed": 1}
    (row,) = (row for row in read_table(swept).rows if row.at == at)
    assert row.run is not None
    assert load_run(swept / row.run).grid("steps", "loss") == alone.grid("steps", "loss")
    assert row.outcome.network["parameters"] == sum(
        p.shape[0] * (p.shape[1] if len(p.shape) > 1 else 1) for p in alone.catalogue.parameters
    )


def test_json_is_all_of_stdout_and_progress_is_told_on_stderr(swept: Path) -> None:
    told = json.loads((swept.parents[1] / "stdout.json").read_text())
    assert [p["at"]["seed"] for p in told["points"]] == [0, 1] * 8
    assert set(told["points"][0]["numbers"]) == {"loss", "initial_backward_ratio"}
    lines = (swept.parents[1] / "stderr.txt").read_text().splitlines()
    assert lines[-3].startswith("mine: point 16 of 16, ")
    assert lines[-2:] == ["sweep folder: runs/mine", "next: gradscope plot runs/mine"]


@pytest.fixture
def again(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished sweep, to go on with."""
    shutil.copytree(swept.parents[1], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_what_is_finished_is_not_trained_again(again: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (again / "runs/mine/points").rglob("*")}
    result = gradscope("sweep", "mine.yaml", "--out", "runs/mine", "--format", "json", "-q")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert json.loads(result.stdout) == json.loads((again / "stdout.json").read_text())
    changed = {path for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert not {path for path in changed if path.is_dir() or path.parent.name != "points"}


def test_only_what_is_new_in_the_file_is_trained(again: Path) -> None:
    (again / "mine.yaml").write_text(SWEEP.replace("[3, 20]", "[3, 4]").replace(", sigmoid", "").replace("[0, 9]", "[0]"))
    result = gradscope("sweep", "mine.yaml", "--out", "runs/mine", "--jobs", "1")
    lines = [line for line in result.stderr.splitlines() if line.startswith("mine: point ")]
    assert len(lines) == 2
    assert all("model.depth=4" in line for line in lines)
    assert result.stdout.splitlines()[0] == "mine: 4 points, 2 seeds each: 4 healthy"
    assert len(list((again / "runs/mine/points").glob("*.json"))) == 8 + 2


def test_an_edge_is_found_between_two_values(again: Path) -> None:
    (again / "edge.yaml").write_text(
        "base: base.yaml\nset: {model.activation: sigmoid, model.init.scheme: xavier_normal}\naxes: {model.depth: [3, 20]}\n"
    )
    words = ("sweep", "edge.yaml", "--find", "model.depth", "--until", "GS101", "--format", "json", "-q", "--jobs", "1")
    told = json.loads(gradscope(*words).stdout)
    (bracket,) = told["brackets"]
    without, found = bracket["without"], bracket["found"]
    assert found - without == 1
    has = {p["at"]["model.depth"]: "GS101" in p["codes"] for p in told["points"]}
    assert (has[without], has[found]) == (False, True)
    assert len(has) <= 2 + 5  # 17 values in between are halved away in five


def test_a_sweep_that_another_process_works_on_is_left_alone(again: Path) -> None:
    import fcntl

    with (again / "runs/mine/lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = gradscope("sweep", "mine.yaml", "--out", "runs/mine")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: runs/mine: another sweep is working on this folder")


def test_a_folder_that_holds_something_else_is_left_alone(again: Path) -> None:
    result = gradscope("sweep", "mine.yaml", "--out", ".")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["error: .: the folder exists and holds no sweep", "hint: name another one with --out"]
    assert not (again / "points").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--find", "model.dept"), "the sweep has no axis 'model.dept'; did you mean 'model.depth'?"),
        (("--find", "model.depth", "--until", "sick"), "neither a verdict nor a rule is called 'sick'"),
        (
            ("--find", "model.activation"),
            "the axis model.activation is not one of numbers with two ends: nothing can be halved",
        ),
    ],
)
def test_a_search_for_what_is_not_there_is_told_before_anything_is_trained(
    again: Path, words: tuple[str, ...], message: str
) -> None:
    result = gradscope("sweep", "mine.yaml", "--out", "new", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")
    assert not (again / "new").exists()


def test_points_that_cannot_be_carried_out_are_rows_and_are_tried_again_when_asked(again: Path) -> None:
    import torch

    missing = "mps" if torch.cuda.is_available() else "cuda"
    (again / "no.yaml").write_text(f"base: base.yaml\nset: {{training.steps: 3}}\naxes: {{device: [cpu, {missing}]}}\n")
    first = gradscope("sweep", "no.yaml", "--jobs", "1")
    assert first.exit_code == 0
    assert first.stdout.splitlines()[0] == "no: 2 points: 1 healthy, 1 failed"
    assert "warning: 1 points could not be carried out" in first.stderr
    assert pandas.read_parquet("runs/no/results.parquet")["reason"][1].startswith(f"device '{missing}' is not available")
    assert "point" not in gradscope("sweep", "no.yaml", "--jobs", "1").stderr.partition("warning")[0]
    (again / "runs/no/points").joinpath(next(p.name for p in (again / "runs/no/points").glob("*.json"))).touch()
    assert "no: point " in gradscope("sweep", "no.yaml", "--jobs", "1", "--retry").stderr


def test_an_interrupted_sweep_ends_with_130_and_goes_on_from_its_checkpoint(again: Path) -> None:
    (again / "long.yaml").write_text("base: base.yaml\nset: {training.steps: 100000}\nseeds: 1\n")
    words = ("sweep", "long.yaml", "--jobs", "1")
    out, err = interrupted(*words, when=lambda: list((again / "runs").glob("long/points/*/steps/*")))
    assert out == ""
    assert "warning: interrupted after 0 of 1 points; the same command goes on" in err
    (folder,) = (p for p in (again / "runs/long/points").iterdir() if p.is_dir())
    assert load_run(folder).status == "interrupted"
    assert len(list((folder / "checkpoints").iterdir())) == 1
    assert not list((again / "runs/long/points").glob("*.json"))


def test_a_sweep_that_is_killed_goes_on_without_training_finished_points_again(again: Path) -> None:
    (again / "killed.yaml").write_text("base: base.yaml\nset: {training.steps: 200}\nseeds: 3\n")
    words = ["sweep", "killed.yaml", "--jobs", "1"]
    points = again / "runs/killed/points"
    running = subprocess.Popen([sys.executable, "-m", "gradscope", *words], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(points.glob("*.json")):
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.communicate()
    finished = {path.stem for path in points.glob("*.json")}
    before = {path: path.stat().st_mtime_ns for key in finished for path in (points / key).rglob("*") if path.is_file()}

    result = gradscope(*words, "--format", "json")
    assert result.exit_code == 0
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before
    told = [line for line in result.stderr.splitlines() if line.startswith("killed: point ")]
    assert len(told) == 3 - len(finished)
    rows = read_table(again / "runs/killed").rows
    assert [row.outcome.end.value for row in rows] == ["finished"] * 3
    for row in rows:
        alone = train(load_config(again / "base.yaml", ["training.steps=200", f"seed={row.at['seed']}"]))
        assert row.run is not None
        assert load_run(again / "runs/killed" / row.run).grid("steps", "loss") == alone.grid("steps", "loss")


def test_a_point_waits_for_the_process_that_still_writes_its_folder(again: Path) -> None:
    config, folder, outcomes = load_config(again / "base.yaml"), again / "point", list[Outcome]()
    folder.mkdir()
    (folder / "manifest.json").write_text("half a run")
    lock = WriterLock(folder)
    waiting = threading.Thread(target=lambda: outcomes.append(carry_out(config, folder)))
    waiting.start()
    time.sleep(0.5)
    assert waiting.is_alive()
    assert (folder / "manifest.json").read_text() == "half a run"
    lock.release()
    waiting.join(60)
    assert outcomes[0].end is End.FINISHED
    assert load_run(folder).grid("steps", "loss") == train(config).grid("steps", "loss")


def test_a_point_whose_recording_ended_early_says_why_it_has_no_verdict(again: Path) -> None:
    config = load_config(again / "base.yaml")
    run = train(config)
    assert judged(run, config, {}).reason is None
    unseen = Run(replace(run.manifest, notes=("recording ended at step 0: RuntimeError: broken",)), {})
    outcome = judged(unseen, config, {})
    assert (outcome.end, outcome.verdict) == (End.FINISHED, "inconclusive")
    assert outcome.reason == "recording ended at step 0: RuntimeError: broken"
    never = judged(synthetic.absent(), config, {})
    assert (never.verdict, never.reason[:24] if never.reason else None) == ("inconclusive", "No gradient was recorded")


def test_what_a_process_does_once_is_told_apart_in_the_first_point_of_each(swept: Path) -> None:
    outcomes = [json.loads(path.read_text())["outcome"] for path in (swept / "points").glob("*.json")]
    trained = [Outcome.from_dict(outcome) for outcome in outcomes]
    firsts = [outcome for outcome in trained if outcome.start_seconds]
    assert len(firsts) == 2  # of --jobs
    assert all(0 < o.start_seconds < (o.seconds or 0) for o in firsts)
