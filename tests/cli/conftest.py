from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gradscope.cli.app import app

SMALL = """\
model: {kind: mlp, depth: 3, width: 16, activation: tanh}
data: {name: spirals, points: 100, batch_size: 16}
training: {steps: 6, validate_every: null}
device: cpu
"""
VANISHING = """\
model: {kind: mlp, depth: 20, width: 32, activation: sigmoid, init: {scheme: xavier_normal}}
data: {name: digits, batch_size: 64}
training: {steps: 40}
device: cpu
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADSCOPE_RUNS", raising=False)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def gradscope(*words: str | Path) -> Result:
    """What a command line does: ``exit_code``, ``stdout``, ``stderr``. An error that nobody foresaw is raised."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, prog_name="gradscope")


def interrupted(*words: str, when: Callable[[], object]) -> tuple[str, str]:
    """stdout and stderr of a command that gets a Ctrl-C as soon as ``when`` is true, and ends with 130."""
    command = [sys.executable, "-m", "gradscope", *words]
    deadline = time.monotonic() + 120
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            while not when():
                assert time.monotonic() < deadline
                assert running.poll() is None
                time.sleep(0.1)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130, err
    assert "Traceback" not in err
    return out, err


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with two runs, ``healthy`` (the newer) and ``vanishing``; not to be written into."""
    folder = tmp_path_factory.mktemp("recorded")
    for name, text in (("vanishing", VANISHING), ("healthy", SMALL)):
        (folder / f"{name}.yaml").write_text(text)
        result = gradscope("run", folder / f"{name}.yaml", "--out", folder / "runs" / name, "-q")
        assert result.exit_code == 0, result.output
    return folder / "runs"
