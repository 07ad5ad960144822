"""The layers of the house hold, and the contract that holds them would tell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the copy of the package in ``folder``."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "100"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("room", "line", "broken"),
    [
        ("record/grid.py", "", None),
        ("record/grid.py", "import gradscope.capture.recorder", "layers: a lower one never imports a higher one BROKEN"),
        ("signals/ratios.py", "import torch", "torch only where tensors are BROKEN"),
    ],
)
def test_a_lower_layer_that_imports_a_higher_one_is_told(tmp_path: Path, room: str, line: str, broken: str | None) -> None:
    shutil.copytree(ROOT / "gradscope", tmp_path / "gradscope", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "gradscope" / room).open("a") as file:
        file.write(f"\n{line}\n")
    result = lint(tmp_path)
    assert (result.returncode == 0) == (broken is None), result.stdout + result.stderr
    if broken:
        assert broken in " ".join(result.stdout.split())
