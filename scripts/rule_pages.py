"""The pages of the rules, made from the rules themselves: ``python -m scripts.rule_pages docs/rules``."""

from __future__ import annotations

import sys
from pathlib import Path

from gradscope.detect.catalogue import index, page, rows

MARK = "<!-- Made by python -m scripts.rule_pages docs/rules; do not edit. -->\n\n"


def pages() -> dict[str, str]:
    """File name -> text."""
    return {"index.md": MARK + index()} | {f"{row.name}.md": MARK + page(row.name) for row in rows()}


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")
    for old in set(folder.glob("*.md")) - {folder / name for name in pages()}:
        old.unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
