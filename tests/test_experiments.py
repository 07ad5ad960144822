"""Every experiment holds in its short form, and its page says the claim, the command, the numbers and what is true."""

from __future__ import annotations

import re

import pytest

from scripts.experiments import FOLDER, PAGES, Number, experiment, names, table

NAMES = names()
SECTIONS = ["The claim", "Run it", "What was measured", "What is true"]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_gives_the_numbers_that_its_sources_say(name: str) -> None:
    result = experiment(name).run(short=True)
    assert not [n for n in result.numbers if not n.holds]
    assert len({n.what for n in result.numbers}) == len(result.numbers)
    assert result.figure.axes


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_claim_the_command_the_figure_the_numbers_and_what_is_true(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert f"python -m scripts.experiments {name}" in text
    assert f"(images/{name}.png)" in text
    numbers = text.partition("<!-- numbers -->")[2].partition("<!-- end of numbers -->")[0]
    assert numbers.count("\n|") > 2, "python -m scripts.experiments NAME --write fills in the numbers"
    assert {line.count("|") for line in numbers.splitlines() if line} == {5}, "a number's words break the table"
    assert text.startswith(f"# {experiment(name).TITLE}\n")


def test_every_folder_is_an_experiment_with_a_page_and_the_index_has_them_all() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == NAMES
    assert sorted(page.stem for page in PAGES.glob("*.md")) == sorted([*NAMES, "index"])
    index = (PAGES / "index.md").read_text("utf-8")
    assert [name for name in NAMES if f"({name}.md)" not in index] == []


def test_a_number_holds_within_its_interval_ends_included() -> None:
    assert Number.near("n", 1.05, 1.0, "theory", within=0.05 + 1e-9).holds
    assert not Number.near("n", 1.06, 1.0, "theory", within=0.05).holds
    assert not Number("n", float("nan"), 0.0, 1.0, "theory").holds
    assert table([Number("n", 2.0, 1.0, float("inf"), "theory")]).splitlines()[-1] == "| n | 2 | at least 1 | theory |"
    assert table([Number.open("n", -2.0, "nobody")]).splitlines()[-1] == "| n | -2 | whatever comes out | nobody |"
