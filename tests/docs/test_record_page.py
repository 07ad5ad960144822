"""The page of the record tells others how to read it: each of its lines is run, on two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gradscope
from gradscope.record.manifest import Status
from gradscope.record.store import RunFolder
from scripts.examples import ROOT, Block, blocks
from scripts.record_page import page
from tests.record.blocks import MANIFEST, store, training

TEXT = (ROOT / "docs" / "record.md").read_text("utf-8")
ROWS = 2 * 20 * 6
"""Of two runs, 20 sampled steps each, 6 layers."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a", "b"):
        store(RunFolder.create(tmp_path / "runs" / name, MANIFEST), list(training(60)))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def of(word: str) -> str:
    """The one block of the page with this word."""
    found: list[Block] = [block for block in blocks(TEXT) if block.language == "python" and word in block.text]
    assert len(found) == 1, word
    return found[0].text


def result(word: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(of(word), names)
    return names


def test_the_columns_of_the_page_are_those_of_the_schema() -> None:
    """Run ``python -m scripts.record_page docs/record.md`` where this fails."""
    assert page(TEXT) == TEXT


def test_load_run_reads_as_the_page_says(runs: Path) -> None:
    names = result("load_run")
    assert names["norms"].values.shape == (20, 6)
    assert names["norms"].present.all()
    assert names["first"].column == "backward_norm"


def test_pandas_reads_all_runs_in_one_line(runs: Path) -> None:
    layers = result("pandas")["layers"]
    assert len(layers) == ROWS
    assert set(layers.index.get_level_values("run")) == {"a", "b"}
    grid = gradscope.load_run("runs/a").grid("layers", "backward_norm")
    table = layers.loc["a"].pivot(index="step", columns="layer", values="backward_norm")
    assert (table[list(grid.names)].to_numpy() == grid.values).all()


def test_polars_reads_all_runs_in_one_line(runs: Path) -> None:
    layers = result("polars")["layers"]
    assert layers.shape == (ROWS, 12)
    assert layers["file"].n_unique() == 2
    assert layers["dead_share"].null_count() == ROWS
    assert layers["layer"].dtype == layers["file"].dtype  # plain strings


def test_duckdb_reads_all_runs_in_one_line(runs: Path) -> None:
    layers = result("filename = true")["layers"].df()
    assert layers.shape == (ROWS, 12)
    assert layers["filename"].nunique() == 2


def test_duckdb_finds_one_layer(runs: Path) -> None:
    ((worst,),) = result("max(backward_norm)")["worst"].fetchall()
    assert worst == gradscope.load_run("runs/a").series("layers", "backward_norm", "layers.0").values.max()


def test_the_rows_of_a_killed_run_are_brought_into_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = RunFolder.create("runs/a", MANIFEST)
    for block in training(60):
        sink.append(block)
    sink._lock.release()  # type: ignore[union-attr]  # as the system does for a process that dies
    assert not list(tmp_path.glob("runs/a/layers/*.parquet"))
    before = gradscope.load_run("runs/a")
    assert before.grid("layers", "rows").present.all()
    exec(of("reopen"), {})
    assert len(list(tmp_path.glob("runs/a/layers/*.parquet"))) == 1
    assert gradscope.load_run("runs/a") == before
    assert before.status is Status.INTERRUPTED
