"""The layers of the house hold, and the contract that holds them would tell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the copy of the package in ``folder``."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "100"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_what_breaks_a_contract_is_told_and_the_other_contracts_are_kept(tmp_path: Path) -> None:
    """That all are kept in the package as it is, ``make check`` sees."""
    shutil.copytree(ROOT / "gradscope", tmp_path / "gradscope", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room, line in (("record/grid.py", "import gradscope.capture.recorder"), ("signals/ratios.py", "import torch")):
        with (tmp_path / "gradscope" / room).open("a") as file:
            file.write(f"\n{line}\n")
    result = lint(tmp_path)
    told = " ".join(result.stdout.split())
    assert result.returncode != 0, result.stdout + result.stderr
    assert "layers: a lower one never imports a higher one BROKEN" in told
    assert "torch only where tensors are BROKEN" in told
    assert "no drawing and no terminal below the command line KEPT" in told
