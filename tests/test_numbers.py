"""How numbers are written, and that nothing writes them another way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradscope.numbers import exact, number

PACKAGE = Path(__file__).parents[1] / "gradscope"
ITSELF = {"numbers.py", "capture/cadence.py"}
"""Where numbers are written; and where seconds are, that are never small enough for an exponent."""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"), (1.0, "1"), (-2.5, "-2.5"), (0.0123456, "0.0123"), (0.00012345, "0.000123"), (1.2e-5, "1.2e-5"),
        (4e-7, "4e-7"), (99.96, "100"), (999.9, "1,000"), (1250.0, "1,250"), (12345.6, "12,300"), (1234567.0, "1.23e6"),
        (1e-300, "1e-300"), (float("inf"), "inf"), (float("-inf"), "-inf"), (float("nan"), "NaN"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_lose_no_zero_that_counts(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"), (2.0, "2"), (-0.5, "-0.5"), (1e-8, "1e-8"), (4e-4, "0.0004"), (-2.5e-10, "-2.5e-10"), (1250.0, "1250"),
        (1e20, "1e20"), (0.123456789, "0.123456789"), (1.23456789e-9, "1.23456789e-9"), (1234567.0, "1234567.0"),
    ],
)  # fmt: skip
def test_a_number_that_was_chosen_is_written_as_one_would_type_it_and_keeps_its_digits(value: float, said: str) -> None:
    assert exact(value) == said
    assert float(exact(value)) == value


def formats(node: ast.AST, inside: str = "") -> Iterator[tuple[int, str]]:
    """Line and format of each number that an f-string writes with an exponent of Python's, but to read it back."""
    for child in ast.iter_child_nodes(node):
        of = child.func.id if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) else inside
        if isinstance(child, ast.FormattedValue) and child.format_spec is not None and of != "float":
            form = ast.unparse(child.format_spec)[2:-1]
            if form[-1:] in "eg":
                yield child.lineno, form
        yield from formats(child, of)


def test_every_number_that_may_be_small_is_written_in_one_place() -> None:
    others = [
        f"{path.relative_to(PACKAGE)}:{line}: {form}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in ITSELF
        for line, form in formats(ast.parse(path.read_text("utf-8")))
    ]
    assert others == []
