from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import gradscope
from tests.cli.test_startup import imported


def test_a_report_is_written_beside_the_run_and_its_path_is_told(here: Path, recorded: Path) -> None:
    result = gradscope("report", recorded / "healthy", "-o", here / "r.html")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == str(here / "r.html")
    assert "<title>Gradscope report</title>" in (here / "r.html").read_text("utf-8")


def test_its_verdict_is_that_of_check(here: Path, recorded: Path) -> None:
    gradscope("report", recorded / "vanishing", "-o", here / "r.html")
    told = json.loads(re.search(r'type="application/json">(.*?)</script>', (here / "r.html").read_text("utf-8"))[1])
    said = json.loads(gradscope("check", recorded / "vanishing", "--format", "json").stdout)
    assert told["runs"][0]["verdict"] == said["verdict"] == "pathological"
    assert [f["code"] for f in told["runs"][0]["findings"]] == [f["code"] for f in said["findings"]]
    assert [f["message"] for f in told["runs"][0]["findings"]] == [f["message"] for f in said["findings"]]


def test_several_runs_are_compared(here: Path, recorded: Path) -> None:
    result = gradscope("report", recorded / "vanishing", recorded / "healthy", "-o", here / "both.html")
    assert result.exit_code == 0, result.output
    told = json.loads(re.search(r'type="application/json">(.*?)</script>', (here / "both.html").read_text("utf-8"))[1])
    assert [run["label"] for run in told["runs"]] == ["vanishing", "healthy"]
    assert ["in the config", "model.depth", ["20", "3"]] in told["comparison"]["differences"]


def test_a_folder_is_no_file(here: Path, recorded: Path) -> None:
    result = gradscope("report", recorded / "healthy", "-o", here)
    assert result.exit_code == 2
    assert "is a folder; the report is one file" in result.stderr


def test_what_is_no_run_is_said_in_a_line(here: Path) -> None:
    result = gradscope("report", here / "nothing")
    assert result.exit_code == 2
    assert "nothing" in result.stderr
    assert "Traceback" not in result.output


def test_reporting_imports_neither_torch_nor_matplotlib_and_the_page_itself_is_small(here: Path, recorded: Path) -> None:
    modules = imported(here, "report", recorded / "healthy", "-o", here / "r.html")
    assert not modules & {"torch", "matplotlib", "sklearn"}
    html = (here / "r.html").read_text("utf-8")
    data = re.search(r'type="application/json">(.*?)</script>', html)[1]
    assert len(html.encode()) - len(data.encode()) < 2_000_000
