"""What the pages show is what the program prints. ``python -m scripts.refresh`` brings them up to date."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.config_page import page as config_page
from scripts.examples import PAGES, ROOT, blocks, examples, likeness, played

SHOWING = [page for page in PAGES if any(b.language == "console" for b in blocks(page.read_text("utf-8")))]


@pytest.fixture
def one_core() -> Iterator[None]:
    """Tests run side by side: a sweep's processes, one a core, would wait for other tests, and each imports torch."""
    if not hasattr(os, "sched_setaffinity"):
        return (yield)
    mine = os.sched_getaffinity(0)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(mine)[worker % len(mine)]})
    yield
    return os.sched_setaffinity(0, mine)


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("page", SHOWING, ids=[str(page.relative_to(ROOT)) for page in SHOWING])
def test_a_page_shows_what_its_commands_print(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRADSCOPE_RUNS", raising=False)
    for _, results in played(page.read_text("utf-8"), tmp_path):
        for example, printed in results:
            assert likeness(example.shown) == likeness(printed), example.command


def test_the_page_of_the_config_is_current() -> None:
    """Run ``python -m scripts.config_page docs/config.md`` where this fails."""
    assert (ROOT / "docs" / "config.md").read_text("utf-8") == config_page()


def test_every_key_of_the_config_is_explained() -> None:
    rows = [line for line in config_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert all(line.rstrip(" |").count("|") == 4 for line in rows), [r for r in rows if r.rstrip(" |").count("|") < 4]


def test_a_console_block_is_read_as_commands_and_what_they_print() -> None:
    (block,) = blocks("text\n```console\n$ a b\none\ntwo\n$ c\n```\n")
    assert [(e.command, e.shown) for e in examples(block)] == [("a b", "one\ntwo\n"), ("c", "")]


def test_a_likeness_leaves_words_and_drops_numbers_and_folds() -> None:
    assert likeness("step 199: 8.28e-14\n  to 0.08 ▁▂▇") == likeness("step 3: 1 to  2.5e+3 ▇")
    assert likeness("healthy") != likeness("pathological")
