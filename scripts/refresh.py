"""Brings the documentation up to date with the program: ``python -m scripts.refresh``.

The pages that are made from the program are made anew, every console example of README and docs is run and its output put
in the place of the old one, and the pictures that these examples draw go to ``docs/images``.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import torch
from PIL import Image

from gradscope.cli import reference, schema
from scripts import config_page, record_page, report_picture, rule_pages
from scripts.examples import PAGES, ROOT, blocks, played

IMAGES = ROOT / "docs" / "images"
COLOURS = 256


def refresh(page: Path) -> None:
    """Run the examples of one page, and show what they printed and drew."""
    text, done, parts = page.read_text("utf-8"), 0, []
    with tempfile.TemporaryDirectory() as folder:
        for block, results in played(text, Path(folder)):
            parts += [text[done : block.start], *(f"$ {example.command}\n{printed}" for example, printed in results)]
            done = block.start + len(block.text)
        for name in set(re.findall(r"images/([\w-]+\.png)", text)):
            shrink(Path(folder) / name, IMAGES / name)
    page.write_text("".join([*parts, text[done:]]), "utf-8")


def shrink(drawn: Path, target: Path) -> None:
    """A picture for the web: of few colours, as small as PNG makes it."""
    with Image.open(drawn) as picture:
        target.parent.mkdir(exist_ok=True)
        few = picture.convert("RGB").quantize(COLOURS, kmeans=3, dither=Image.Dither.NONE)
        few.save(target, optimize=True)


def main() -> None:
    torch.set_num_threads(1)
    (ROOT / "docs" / "cli.md").write_text(reference.page(), "utf-8")
    (ROOT / "docs" / "config.md").write_text(config_page.page(), "utf-8")
    record = ROOT / "docs" / "record.md"
    record.write_text(record_page.page(record.read_text("utf-8")), "utf-8")
    rule_pages.write(ROOT / "docs" / "rules")
    for of in schema.Of:
        (ROOT / "configs" / f"{of}.schema.json").write_text(schema.text(of) + "\n", "utf-8")
    with tempfile.TemporaryDirectory() as folder:
        if report_picture.draw(Path(folder) / "report.png"):
            shrink(Path(folder) / "report.png", IMAGES / "report.png")
    for page in PAGES:
        if any(block.language == "console" for block in blocks(page.read_text("utf-8"))):
            refresh(page)


if __name__ == "__main__":
    main()
