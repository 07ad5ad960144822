from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest

from gradscope.sweep.plan import Plan, load_sweep
from tests.cli.conftest import SMALL, gradscope

SWEEP = """\
base: base.yaml
axes:
  model.depth: [3, 20]
  model.activation: [relu, sigmoid]
  schedule.warmup_steps: [0, 9]
seeds: 2
set: {model.init.scheme: xavier_normal}
measure: [loss, initial_backward_ratio]
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a base config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADSCOPE_RUNS", raising=False)
    (tmp_path / "base.yaml").write_text(SMALL)
    return tmp_path


def plan(text: str, folder: Path = Path()) -> Plan:
    (folder / "mine.yaml").write_text(text)
    return load_sweep(folder / "mine.yaml")


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep's folder, ``runs/mine`` beside ``base.yaml`` and ``mine.yaml``; not to be written into."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "base.yaml").write_text(SMALL)
    (folder / "mine.yaml").write_text(SWEEP)
    with chdir(folder):
        result = gradscope("sweep", "mine.yaml", "--out", "runs/mine", "--jobs", "2", "--format", "json")
    assert result.exit_code == 0, result.output
    (folder / "stdout.json").write_text(result.stdout)
    (folder / "stderr.txt").write_text(result.stderr)
    return folder / "runs" / "mine"
