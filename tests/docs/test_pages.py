"""What README and docs say can be done, and what they link to, is there."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
import yaml

from gradscope.cli.app import app
from gradscope.strict.yaml12 import read
from scripts.examples import PAGES, ROOT, blocks, examples

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
DEFINED = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.M)
}
"""The names of all tests."""
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def links(page: Path) -> list[str]:
    """Targets of a page's links and images; what stands in code is none."""
    return LINK.findall(SPAN.sub("code", INDENTED.sub("", FENCED.sub("", page.read_text("utf-8")))))


def commands(page: Path) -> Iterator[list[str]]:
    """The words after ``gradscope`` wherever a page has such a command, in a block or in a line."""
    text = page.read_text("utf-8")
    lines = [e.command for b in blocks(text) if b.language == "console" for e in examples(b)]
    lines += [line for b in blocks(text) if b.language in ("", "bash", "yaml") for line in b.text.splitlines()]
    lines += SPAN.findall(FENCED.sub("", text))
    for line in lines:
        if found := re.match(r"(?:- run: |\$ )?(?:\.venv/bin/)?gradscope (.+)", line.strip()):
            yield shlex.split(found[1], comments=True)


def anchors(page: Path) -> set[str]:
    """The fragments that the headings of a page give, as web views of Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_command_and_option_that_a_page_shows_exists(page: Path) -> None:
    root: Any = typer.main.get_command(app)
    for words in commands(page):
        if words[0].startswith("["):  # a usage line
            continue
        if words[0].startswith("-"):
            assert words[0] in {name for p in root.params for name in p.opts} | {"--help"}, words
            continue
        assert words[0] in root.commands, f"gradscope {' '.join(words)}"
        options = {name for p in root.commands[words[0]].params for name in p.opts} | {"--help", "-h"}
        asked = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        assert asked <= options, f"gradscope {' '.join(words)}: no option {', '.join(sorted(asked - options))}"


@every_page
def test_every_relative_link_and_image_of_a_page_leads_somewhere(page: Path) -> None:
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = unquote(target).partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not fragment or fragment in anchors(there), target


@every_page
def test_every_python_and_yaml_block_of_a_page_can_be_read(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "python":
            ast.parse(block.text)
        elif block.language == "yaml":
            assert yaml.safe_load(block.text)


@every_page
def test_every_fence_of_a_page_is_closed_and_of_a_kind_that_the_tests_know(page: Path) -> None:
    text = page.read_text("utf-8")
    assert {block.language for block in blocks(text)} <= {"", "console", "bash", "python", "yaml", "json", "text"}
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(blocks(text))


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            targets = [page.parent / t.partition("#")[0] for t in links(page) if ":" not in t]
            waiting += [t.resolve() for t in targets if t.suffix == ".md"]
    assert set(PAGES) <= reached


def test_pictures_are_small_and_each_is_shown() -> None:
    shown = {m for page in PAGES for m in re.findall(r"images/([\w-]+\.png)", page.read_text("utf-8"))}
    drawn = {path.name: path.stat().st_size for path in (ROOT / "docs").rglob("images/*.png")}
    assert set(drawn) == shown
    assert max(drawn.values()) < 150_000


def test_the_readme_has_every_command() -> None:
    root: Any = typer.main.get_command(app)
    table = (ROOT / "README.md").read_text("utf-8").partition("\n## Commands\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `gradscope (\w+)", table, re.MULTILINE)) == sorted(root.commands)


def test_the_yaml_of_the_config_page_is_a_config(tmp_path: Path) -> None:
    (block,) = (b for b in blocks((ROOT / "docs" / "config.md").read_text("utf-8")) if b.language == "yaml")
    (tmp_path / "all.yaml").write_text(block.text, "utf-8")
    assert not read(tmp_path / "all.yaml").problems


@every_page
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = {
        span
        for span in SPAN.findall(FENCED.sub("", page.read_text("utf-8")))
        if span.isidentifier() and span.startswith("test_")
    }
    assert named <= DEFINED, named - DEFINED
