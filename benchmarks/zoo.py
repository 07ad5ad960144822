"""``python benchmarks/zoo.py``: see ``benchmarks/zoo/__main__.py``. The folder of the same name is what this imports."""

from __future__ import annotations

from zoo.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())
