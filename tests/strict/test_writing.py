from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gradscope.strict.writing import dump
from gradscope.strict.yaml12 import parse

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdefgh_0123456789.", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_read_back_the_same(value: Any) -> None:
    again = parse(dump(value), "f.yaml")
    assert again.problems == ()
    assert again.data == value


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029", "\ufeff", "\n", "\r"])
def test_a_line_break_of_any_kind_is_written_as_itself(mark: str) -> None:
    for value in (f"a{mark}b", f"{mark}", f"a {mark} b: '{mark}"):
        assert parse(dump({"a": value}), "f.yaml").data == {"a": value}


@given(st.sampled_from(["yes", "on", "1e-3", "0o17", "0x1f", "1_000", "null", "12:30", ".5", "2026-01-01", "~", ".inf"]))
def test_a_text_that_any_yaml_would_read_as_something_else_is_quoted(text: str) -> None:
    assert parse(dump({"a": text}), "f.yaml").data == {"a": text}
    assert yaml.safe_load(dump({"a": text})) == {"a": text}
