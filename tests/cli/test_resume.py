"""``gradscope run --resume``."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import gradscope


def test_an_interrupted_run_goes_on_from_its_checkpoint(here: Path) -> None:
    from gradscope.training.config import load_config
    from gradscope.training.loop import Progress, train

    config = load_config(here / "small.yaml", ["training.steps=12", "training.checkpoint_every=4"])

    def stop(progress: Progress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    train(config, here / "mine", progress=stop)
    assert json.loads((here / "mine" / "manifest.json").read_text())["status"] == "interrupted"
    result = gradscope("run", "--resume", "mine", "-q")
    assert result.exit_code == 0, result.output
    assert "12 steps, finished" in result.stdout


def test_resuming_takes_no_config_and_running_needs_one(here: Path) -> None:
    both = gradscope("run", "small.yaml", "--resume", "mine")
    assert both.exit_code == 2
    assert "goes on with a run as it was" in both.stderr
    neither = gradscope("run")
    assert neither.exit_code == 2
    assert "what to run is missing" in neither.stderr
