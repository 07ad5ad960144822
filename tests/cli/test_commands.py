"""What each command gives for good input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gradscope.detect.engine import RULES
from gradscope.record.reader import load_run
from gradscope.signals.ratios import backward_ratio, predicted_backward_ratio
from tests.cli.conftest import VANISHING, gradscope, interrupted


def test_a_run_ends_in_a_verdict_the_folder_and_the_next_command(here: Path) -> None:
    result = gradscope("run", "small.yaml")
    assert result.exit_code == 0
    (folder,) = (here / "runs").iterdir()
    assert "6 steps, finished" in result.stdout
    size, data, weights, *progress, where, then = result.stderr.splitlines()
    assert size == "small: mlp with 371 parameters on cpu"
    assert data == "spirals: 16 rows a pass, one pass a step, 6 steps"
    assert weights.startswith("weights: effective sigma_w 1.")
    assert progress[-1].startswith("small: step 6 of 6, loss ")
    assert where == f"run folder: runs/{folder.name}"
    assert then == f"next: gradscope plot runs/{folder.name}"
    assert folder.name.startswith("small-2")


def test_a_quiet_run_says_the_verdict_alone(here: Path) -> None:
    result = gradscope("run", "small.yaml", "-q", "--out", "mine")
    assert result.stderr == ""
    assert "6 steps" in result.stdout
    assert (here / "mine" / "manifest.json").is_file()


def test_a_run_keeps_what_theory_predicted_of_its_first_step(here: Path) -> None:
    gradscope("run", "small.yaml", "-q", "--out", "mine")
    run = load_run("mine")
    predicted, measured = predicted_backward_ratio(run), backward_ratio(run)
    assert predicted.layers == measured.layers
    assert predicted.present.all()
    assert abs(np.log(predicted.values[0] / measured.values[0])).max() < 2.0


def test_a_run_keeps_its_config_as_given_and_resolved_and_the_resolved_one_runs_the_same(here: Path) -> None:
    gradscope("run", "small.yaml", "model.depth=4", "--set", "seed=7", "-q", "--out", "a")
    assert (here / "a" / "config.yaml").read_text() == (here / "small.yaml").read_text()
    resolved = here / "a" / "config.resolved.yaml"
    assert "depth: 4" in resolved.read_text()
    assert "seed: 7" in resolved.read_text()
    gradscope("run", resolved, "-q", "--out", "b")
    assert (here / "b" / "config.resolved.yaml").read_text() == resolved.read_text()


def test_a_batch_of_several_passes_is_told(here: Path) -> None:
    assert "spirals: 16 rows a pass x 3 = 48 rows a step" in gradscope("run", "small.yaml", "training.accumulate=3").stderr


def test_json_is_all_of_stdout(here: Path) -> None:
    result = gradscope("run", "small.yaml", "--format", "json")
    verdict = json.loads(result.stdout)
    assert verdict["steps"] == 6
    assert set(verdict) == {"schema_version", "run", "verdict", "steps", "remark", "known", "not_asked", "findings"}


def test_the_runs_folder_comes_from_the_option_or_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradscope("run", "small.yaml", "-q", "--runs-dir", "mine")
    monkeypatch.setenv("GRADSCOPE_RUNS", str(here / "theirs"))
    gradscope("run", "small.yaml", "-q")
    assert len(list((here / "mine").iterdir())) == len(list((here / "theirs").iterdir())) == 1
    assert gradscope("check").exit_code == 0


def test_a_vanishing_gradient_fails_a_check_but_not_a_run(here: Path, recorded: Path) -> None:
    result = gradscope("check", recorded / "vanishing", "--format", "json")
    assert result.exit_code == 1
    verdict = json.loads(result.stdout)
    assert verdict["verdict"] == "pathological"
    assert "vanishing-gradients" in [f["rule"] for f in verdict["findings"]]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 1),
        (("--fail-on", "error"), 1),
        (("--fail-on", "never"), 0),
        (("--select", "exploding-gradients"), 0),
        (("--select", "GS101"), 1),
    ],
)
def test_the_exit_code_follows_fail_on_and_the_rules_asked(recorded: Path, words: tuple[str, ...], code: int) -> None:
    assert gradscope("check", recorded / "vanishing", *words).exit_code == code


def test_ignoring_all_that_was_found_leaves_a_healthy_run(recorded: Path) -> None:
    found = json.loads(gradscope("check", recorded / "vanishing", "--format", "json").stdout)["findings"]
    words = [word for f in found for word in ("--ignore", f["code"])]
    result = gradscope("check", recorded / "vanishing", "--format", "json", *words)
    assert json.loads(result.stdout)["verdict"] == "healthy"
    assert result.exit_code == 0


def test_a_verdict_says_which_rules_were_not_asked(recorded: Path) -> None:
    """Else a healthy verdict of a few rules would look like one of all."""
    codes = sorted(rule.CODE for rule in RULES.values())
    alone = gradscope("check", recorded / "vanishing", "--select", "exploding-gradients").stdout
    assert alone.startswith(f"✓ healthy: nothing found, {len(codes) - 1} rules not asked ")
    without = gradscope("check", recorded / "vanishing", "--ignore", "GS102", "--ignore", "clipping-always-on")
    assert ", GS102, GS305 not asked " in without.stdout.splitlines()[0]
    told = json.loads(gradscope("check", recorded / "vanishing", "--ignore", "GS102", "--format", "json").stdout)
    assert told["not_asked"] == ["GS102"]
    assert "not asked" not in gradscope("check", recorded / "vanishing").stdout


def test_the_rules_that_a_config_ignores_stay_ignored_unless_selected(here: Path) -> None:
    (here / "vanishing.yaml").write_text(VANISHING)
    words = ("run", "vanishing.yaml", "-q", "--fail-on", "warning", "--out", "ignored", "detect.ignore=[vanishing-gradients]")
    told = "error GS101 vanishing-gradients"
    assert told not in gradscope(*words).stdout
    assert told not in gradscope("check", "ignored").stdout
    assert ", GS101 not asked " in gradscope("check", "ignored").stdout
    assert "GS101" not in gradscope("runs", "--runs-dir", ".").stdout
    assert told in gradscope("check", "ignored", "--select", "GS101").stdout


def test_what_the_baseline_knows_is_not_told_again(here: Path, recorded: Path) -> None:
    gradscope("check", recorded / "vanishing", "--format", "json", "-o", "known.json")
    result = gradscope("check", recorded / "vanishing", "--baseline", "known.json", "--format", "json")
    assert result.exit_code == 0
    verdict = json.loads(result.stdout)
    assert verdict["findings"] == []
    assert verdict["known"] == len(json.loads(Path("known.json").read_text())["findings"]) > 0
    assert result.stderr.startswith("not told again: ")
    text = gradscope("check", recorded / "vanishing", "--baseline", "known.json").stdout
    assert text.startswith(f"✓ healthy: nothing new, {verdict['known']} known ")


def test_the_newest_run_is_meant_where_none_is_named(recorded: Path) -> None:
    result = gradscope("check", "--runs-dir", recorded)
    assert "healthy" in result.stdout
    assert result.stderr == f"next: gradscope plot {recorded / 'healthy'}\n"
    assert gradscope("check", "vanishing", "--runs-dir", recorded).exit_code == 1


def test_a_verdict_is_written_to_a_file(here: Path, recorded: Path) -> None:
    result = gradscope("check", recorded / "healthy", "--format", "json", "-o", "verdict.json")
    assert result.stdout == ""
    assert json.loads((here / "verdict.json").read_text())["run"] == "healthy"


def test_a_plot_goes_beside_the_run(here: Path, recorded: Path) -> None:
    shutil.copytree(recorded / "healthy", here / "runs" / "mine")
    result = gradscope("plot")
    assert result.stdout == "runs/mine/plots/overview.png\n"
    assert result.stderr == "next: gradscope check runs/mine\n"
    assert (here / "runs/mine/plots/overview.png").read_bytes()[:4] == b"\x89PNG"


def test_several_runs_and_figures_go_into_a_folder(here: Path, recorded: Path) -> None:
    both = (recorded / "healthy", recorded / "vanishing")
    result = gradscope("plot", *both, "--figure", "profile", "--figure", "loss", "-o", "drawn", "--data", "numbers")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == ["drawn/profile.png", "numbers/profile.csv", "drawn/loss.png", "numbers/loss.csv"]
    assert all((here / line).stat().st_size > 100 for line in result.stdout.split())


@pytest.mark.parametrize(("name", "start"), [("x.svg", b"<?xml"), ("x.pdf", b"%PDF")])
def test_a_plot_is_written_in_the_format_of_its_name(here: Path, recorded: Path, name: str, start: bytes) -> None:
    assert gradscope("plot", recorded / "healthy", "-f", "profile", "-o", name).stdout == f"{name}\n"
    assert (here / name).read_bytes().startswith(start)


def test_runs_are_listed_newest_first(here: Path, recorded: Path) -> None:
    (recorded.parent / "copy").mkdir(exist_ok=True)
    lines = gradscope("runs", "--runs-dir", recorded).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "healthy", "vanishing"]
    assert lines[1].split()[1:3] == ["finished", "6"]
    assert "pathological GS101" in lines[2]
    shown = gradscope("runs", "--runs-dir", recorded, "-n", "1")
    assert len(shown.stdout.splitlines()) == 2
    assert shown.stderr.startswith("1 older runs are not shown")


def test_no_runs_are_no_error(here: Path) -> None:
    result = gradscope("runs")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no run in runs\n")


def test_the_rules_are_listed_and_each_has_its_page() -> None:
    lines = gradscope("rules").stdout.splitlines()
    assert {line.split()[1] for line in lines} >= {"vanishing-gradients", "exploding-gradients", "non-finite"}
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    for line in lines:
        code, name, *_ = line.split()
        assert gradscope("rules", name).stdout.startswith(f"# {code} {name}\n")
        assert gradscope("rules", code).stdout == gradscope("rules", name).stdout


def test_info_states_versions_and_devices() -> None:
    import torch

    facts = dict(line.split(maxsplit=1) for line in gradscope("info").stdout.splitlines() if not line.startswith("device"))
    assert facts["torch"] == torch.__version__
    assert {"gradscope", "python", "platform", "numpy", "pyarrow", "matplotlib", "pydantic"} <= set(facts)


def test_a_run_that_a_finding_stopped_is_done_and_says_by_which(here: Path) -> None:
    words = ("model.depth=16", "model.activation=sigmoid", "training.steps=40", "--stop-on", "exploding-gradients")
    result = gradscope("run", "small.yaml", *words, "--stop-on", "GS101", "--out", "stopped")
    assert result.exit_code == 0
    manifest = json.loads((here / "stopped" / "manifest.json").read_text())
    assert manifest["status"] == "stopped"
    assert manifest["reason"].startswith("GS101 vanishing-gradients: ")
    assert manifest["config"]["detect"]["stop_on"] == ["exploding-gradients", "GS101"]
    assert " of 40 steps by GS101 vanishing-gradients" in result.stderr
    assert "GS101" in result.stdout


def test_an_interrupted_run_ends_well_with_130(here: Path) -> None:
    words = ("run", "small.yaml", "training.steps=1000000", "--out", "long")
    out, _ = interrupted(*words, when=lambda: list((here / "long").glob("steps/*")))
    assert "interrupted" in out
    assert json.loads((here / "long" / "manifest.json").read_text())["status"] == "interrupted"
