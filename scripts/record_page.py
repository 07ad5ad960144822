"""The manual's list of recorded columns, made from the schema: ``python -m scripts.record_page docs/record.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from gradscope.record.schema import TABLES

HEADING = "## Columns\n"


def page(text: str) -> str:
    """A page with its last section, the columns, made anew."""
    return text.partition(HEADING)[0] + HEADING + "\n".join(_parts()).rstrip() + "\n"


def _parts() -> Iterator[str]:
    yield "\nMade by `python -m scripts.record_page docs/record.md` from the schema that the recorder writes by.\n"
    for table in TABLES.values():
        yield f"### {table.name}\n"
        yield f"One row for each {', '.join(f'`{key}`' for key in table.keys)}.\n"
        yield "| column | type | unit | meaning |\n|---|---|---|---|"
        for column in table.columns:
            yield f"| `{column.name}` | {column.dtype} | {column.unit or '-'} | {column.meaning} |"
        yield ""


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text("utf-8")), "utf-8")
