from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from gradscope.cli.app import app
from gradscope.cli.reference import page
from gradscope.cli.schema import config_schema, sweep_schema
from tests.cli.conftest import gradscope

ROOT = Path(__file__).parents[2]


def commands() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    return {"": root, **root.commands}


def test_the_page_of_commands_is_current() -> None:
    """Run ``python -m gradscope.cli.reference docs/cli.md`` where this fails."""
    assert (ROOT / "docs" / "cli.md").read_text() == page()


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_documented(name: str) -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    command = commands()[name]
    assert command.help
    section = text.partition(f"\n## gradscope {name}\n")[2].partition("\n## ")[0] if name else text
    assert command.help.split("\n")[0] in section
    for parameter in command.params:
        if parameter.name == "help":
            continue
        assert parameter.help, f"{parameter.name} has no help"
        names = parameter.opts if parameter.param_type_name == "option" else [(parameter.metavar or parameter.name).upper()]
        assert all(f"`{n}" in section or f"`[{n}" in section for n in names), names


def test_the_schema_for_editors_is_current() -> None:
    """Run ``python -m scripts.refresh`` where this fails."""
    assert json.loads((ROOT / "configs" / "config.schema.json").read_text()) == config_schema()
    assert json.loads((ROOT / "configs" / "sweep.schema.json").read_text()) == sweep_schema()


def test_the_schema_is_printed_or_written(here: Path) -> None:
    assert json.loads(gradscope("schema").stdout) == config_schema()
    assert json.loads(gradscope("schema", "sweep").stdout) == sweep_schema()
    assert gradscope("schema", "-o", "s.json").stdout == ""
    assert json.loads((here / "s.json").read_text()) == config_schema()


def test_the_schema_has_what_another_package_adds(tmp_path: Path) -> None:
    """What lies beside the configs would not know of it."""
    package = tmp_path / "nets-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: nets\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[gradscope.architectures]\nstranger = stranger\n")
    (tmp_path / "stranger.py").write_text(
        "from typing import Literal\nfrom gradscope.training.options import ModelOptions\n"
        "class Options(ModelOptions):\n    kind: Literal['stranger'] = 'stranger'\n"
    )
    words = [sys.executable, "-m", "gradscope", "schema"]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert '"stranger"' in done.stdout
    assert '"stranger"' not in gradscope("schema").stdout
