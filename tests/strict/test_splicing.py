"""Text that is changed in place: every other character stays, and what is read back is what was asked for."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.strict.splicing import Edit, UnsplicableError, spliced
from gradscope.strict.writing import flow
from gradscope.strict.yaml12 import parse

CONFIG = """\
# a comment at the top
seed: 0

model:
    kind: mlp        # the kind
    depth: 20
    init: {scheme: kaiming_normal, gain: auto}   # how weights start

    # the last key of the section
    activation: 'sigmoid'
optimizer: {name: sgd, lr: 1e-2}
detect:
    ignore:
        - GS101
        - GS102

# a comment at the end
"""


def changed(text: str, *edits: tuple[str, Any]) -> str:
    return spliced(parse(text, "c.yaml"), [Edit(tuple(key.split(".")), value, "old", "GS000 rule") for key, value in edits])


def lines(text: str, *edits: tuple[str, Any]) -> list[str]:
    """The lines that a change takes away (-) and adds (+)."""
    new = changed(text, *edits)
    return [line for line in difflib.ndiff(text.splitlines(), new.splitlines()) if line[0] in "+-"]


def test_a_value_is_replaced_where_it_stands_and_marked() -> None:
    assert lines(CONFIG, ("model.depth", 50)) == ["-     depth: 20", "+     depth: 50  # was: old; GS000 rule"]


def test_a_value_of_a_line_with_several_keys_is_marked_by_its_name_behind_a_comment_that_is_there() -> None:
    assert lines(CONFIG, ("model.init.gain", "critical")) == [
        "-     init: {scheme: kaiming_normal, gain: auto}   # how weights start",
        "+     init: {scheme: kaiming_normal, gain: critical}   # how weights start  # was: model.init.gain: old; GS000 rule",
    ]


def test_two_changes_of_a_line_share_a_mark() -> None:
    found = lines(CONFIG, ("optimizer.lr", 0.1), ("optimizer.momentum", 0.5))
    assert found[-1] == (
        "+ optimizer: {name: sgd, lr: 0.1, momentum: 0.5}  # was: optimizer.lr: old, optimizer.momentum: old; GS000 rule"
    )


def test_a_key_that_is_not_there_goes_to_the_end_of_its_section() -> None:
    assert lines(CONFIG, ("model.residual", True)) == ["+     residual: true  # was: old; GS000 rule"]
    assert changed(CONFIG, ("model.residual", True)).splitlines()[10] == "    residual: true  # was: old; GS000 rule"


def test_a_section_that_is_not_there_goes_to_the_end_of_the_file() -> None:
    found = changed(CONFIG, ("schedule.warmup_steps", 20))
    assert "schedule: {warmup_steps: 20}  # was: schedule.warmup_steps: old; GS000 rule\n" in found
    assert "        - GS102\nschedule:" in found


def test_a_long_line_is_marked_above() -> None:
    text = f"model: {{kind: mlp, activation: relu}}{' ' * 90}# far\n"
    assert changed(text, ("model.activation", "tanh")).splitlines()[0] == "# was: model.activation: old; GS000 rule"


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: 1}",  # no new line at the end
        "a: {b: 1}\r\nc: 2\r\n",
        "a: {\n  b: 1,  # one\n  c: 2\n}\n",
        "a: {b: 1,}\n",
        "a: {}\n",
        "{a: {b: 1}}\n",
        "a:\n  b: |\n    lines\n    of text\n",
        "a:\n  b: 1\n  c: [1,\n     2]\n",
        "a:\n  b:\n  c: 2\n",
        "ä: '😀'  # 😀\na: {b: 1}\n",
        "a:\n- x\n",
    ],
)
@pytest.mark.parametrize("edits", [[("a.b", 7)], [("a.n", {"k": "x"})], [("m.n.o", 0.5)], [("a.b", None), ("z", "1e-3")]])
def test_every_way_to_write_yaml_reads_back_as_asked(text: str, edits: list[tuple[str, Any]]) -> None:
    expected = parse(text, "c.yaml").data
    if isinstance(expected["a"], list) and edits[0][0].startswith("a."):
        with pytest.raises(UnsplicableError):
            changed(text, *edits)
        return
    for key, value in edits:
        *path, last = key.split(".")
        section = expected
        for part in path:
            section = section.setdefault(part, {})
        section[last] = value
    found = changed(text, *edits)
    assert parse(found, "c.yaml").data == expected
    assert found.count("# was: ") == len(edits) or "b: |" in text or "a: {b" in text
    assert ("\r\n" in text) == ("\r\n" in found)


def test_an_alias_cannot_be_changed_alone_and_is_not() -> None:
    with pytest.raises(UnsplicableError):
        changed("a: &x {b: 1}\nc: *x\n", ("c.b", 2))


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=12),
        st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), st.integers(), max_size=3),
        st.lists(st.integers(), max_size=3),
    )
)
@settings(max_examples=150, deadline=None)
def test_any_value_stands_within_a_line(value: Any) -> None:
    assert parse(f"a: {{b: {flow(value)}, c: 1}}", "c.yaml").data == {"a": {"b": value, "c": 1}}
