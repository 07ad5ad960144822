"""What a command imports decides how soon it answers; how soon is measured by benchmarks/startup.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import gradscope

HEAVY = {"torch", "matplotlib", "pyarrow", "sklearn"}


def imported(folder: Path, *words: str | Path, code: int = 0) -> set[str]:
    """The top-level modules that a command has imported when it ends, run from another folder."""
    listing = folder / "modules.txt"
    program = (
        "import atexit, pathlib, sys; names = lambda: {m.partition('.')[0] for m in sys.modules}; "
        f"atexit.register(lambda: pathlib.Path({str(listing)!r}).write_text(' '.join(names()))); "
        f"sys.argv = ['gradscope', *{[str(w) for w in words]!r}]; "
        "import runpy; runpy.run_module('gradscope', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return set(listing.read_text().split())


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("schema",), ("run", "--help"), ("check", "--help")], ids=" ".join
)
def test_help_version_and_schema_import_nothing_heavy(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert not imported(tmp_path, *words) & HEAVY


def test_completion_imports_nothing_heavy(tmp_path: Path) -> None:
    assert not imported(tmp_path, "--show-completion", "bash") & HEAVY


def test_a_config_that_is_refused_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("seed: one\n")
    assert not imported(tmp_path, "run", "bad.yaml", code=2) & HEAVY


def test_judging_comparing_and_listing_import_neither_torch_nor_matplotlib(here: Path, recorded: Path) -> None:
    assert not imported(here, "check", recorded / "healthy") & {"torch", "matplotlib", "sklearn"}
    both = (recorded / "healthy", recorded / "vanishing")
    assert not imported(here, "compare", *both) & {"torch", "matplotlib", "sklearn"}
    assert not imported(here, "runs", "--runs-dir", recorded) & {"torch", "matplotlib", "sklearn"}


def test_plotting_imports_no_torch(here: Path, recorded: Path) -> None:
    modules = imported(here, "plot", recorded / "healthy", "-o", here / "x.png")
    assert "matplotlib" in modules
    assert not modules & {"torch", "sklearn"}


def test_the_version_is_printed() -> None:
    from gradscope import __version__

    result = gradscope("--version")
    assert result.stdout == f"gradscope {__version__}\n"
    assert result.exit_code == 0


def test_help_is_shown_without_arguments() -> None:
    result = gradscope()
    assert "Usage: gradscope" in result.output
    assert all(name in result.output for name in ("run", "plot", "check", "compare", "rules", "schema", "info", "runs"))
