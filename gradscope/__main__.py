"""``python -m gradscope`` and the command ``gradscope``."""

from __future__ import annotations


def main() -> None:
    from gradscope.cli.app import main

    main()


if __name__ == "__main__":
    main()
