from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.errors import ConfigError
from gradscope.strict.document import Document
from gradscope.strict.yaml12 import SIZE_LIMIT, VALUE_LIMIT, overridden, parse, read


def problems(text: str) -> list[str]:
    try:
        return [str(p) for p in parse(text, "f.yaml").problems]
    except ConfigError as error:
        return list(error.problems)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "f.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-3.", -3.0),
        ("+12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0xff", 255),
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("'12'", "12"),
        ('"true"', "true"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("1/sqrt(depth)", "1/sqrt(depth)"),
    ],
)
def test_scalars_are_read_as_yaml_1_2(text: str, value: Any) -> None:
    read_value = parse(text, "f.yaml").data
    assert read_value == value
    assert type(read_value) is type(value)


def test_nan_is_read_as_a_number() -> None:
    assert math.isnan(parse(".nan", "f.yaml").data)


def test_keys_are_words_whatever_they_look_like() -> None:
    assert parse("on: 1\n2: 2\ntrue: 3\n", "f.yaml").data == {"on": 1, "2": 2, "true": 3}


def test_a_duplicate_key_is_refused_with_both_places() -> None:
    assert problems("a: 1\nb: {c: 1, d: 2,\n  c: 3}\na: 2\n") == [
        "f.yaml:3:3: b.c: duplicate key (first at 2:5)",
        "f.yaml:4:1: a: duplicate key (first at 1:1)",
    ]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!binary", "!mine", "!!int"])
def test_a_tag_is_refused_and_constructs_nothing(tag: str) -> None:
    (problem,) = problems(f"a: {tag} [ls]\n" if "apply" in tag else f"a: {tag} '5'\n")
    assert problem.startswith("f.yaml:1:4: a: tags are not allowed (got ")
    assert tag in problem


def test_a_tab_is_named() -> None:
    assert problems("a:\n\tb: 1\n") == ["f.yaml:2:1: a tab; YAML indents with blanks"]


def test_bad_syntax_is_placed() -> None:
    (problem,) = problems("a: [1, 2\nb: 3\n")
    assert problem.startswith("f.yaml:2:2: not YAML: ")
    (problem,) = problems("a: b: c\n")
    assert problem.startswith("f.yaml:1:5: not YAML: mapping values are not allowed here")


def test_a_character_that_is_no_text_is_placed() -> None:
    assert problems("a: 1\nb: \x07\n") == [r"f.yaml:2:4: not a text character (got '\x07')"]


def test_a_merge_key_is_refused() -> None:
    (problem,) = problems("a: &a {x: 1}\nb:\n  <<: *a\n")
    assert problem == "f.yaml:3:3: b.<<: merge keys are not part of YAML 1.2; write the keys out"


def test_an_alias_stands_for_its_value() -> None:
    assert parse("a: &x [1, 2]\nb: *x\n", "f.yaml").data == {"a": [1, 2], "b": [1, 2]}


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    (problem,) = problems("\n".join(lines))
    assert f"more than {VALUE_LIMIT:,} values, those of aliases counted" in problem


def test_an_alias_of_itself_is_refused() -> None:
    (problem,) = problems("a: &a [1, *a]\n")
    assert "an alias holds itself" in problem


def test_nesting_without_end_is_refused() -> None:
    (problem,) = problems("[" * 5_000)
    assert problem == "f.yaml:1:1: nested too deeply for a config"


def test_a_number_without_end_is_refused() -> None:
    assert problems(f"a: {'9' * 5_000}\n") == ["f.yaml:1:4: a: a number of 5000 digits"]


def test_names_of_any_length_are_cut_in_messages() -> None:
    (problem,) = problems(f"a: !{'x' * 1_000} 1\n")
    assert len(problem) < 200
    _, problem = problems(f'"{"k" * 500}\\n": 1\n' * 3)
    assert len(problem) < 200
    assert "\n" not in problem


def test_two_documents_are_refused() -> None:
    (problem,) = problems("a: 1\n---\nb: 2\n")
    assert problem.startswith("f.yaml:2:1: not YAML: expected a single document")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("", "an empty file"),
        ("# nothing\n", "an empty file"),
        ("- 1\n- 2\n", "a list at the top"),
        ("42\n", "42 at the top"),
        ("hello\n", "'hello' at the top"),
    ],
)
def test_a_file_without_keys_is_refused(tmp_path: Path, content: str, got: str) -> None:
    with pytest.raises(ConfigError, match=got) as raised:
        read(written(tmp_path, content))
    assert str(raised.value).startswith(f"{tmp_path}/f.yaml:1:1: ")


def test_a_file_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"too large for a config \\(expected at most {SIZE_LIMIT // 1024} KiB\\)"):
        read(written(tmp_path, "a: 1\n" * 2_000_000))


def test_bytes_that_are_no_utf_8_are_placed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"f.yaml:2:4: not a text in UTF-8 \(byte 0xff\)"):
        read(written(tmp_path, b"a: 1\nb: \xff\n"))


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    assert read(written(tmp_path, b"\xef\xbb\xbfa: 1\n")).data == {"a": 1}


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").touch()
    with pytest.raises(ConfigError, match=r"depp.yaml: no such file") as raised:
        read(tmp_path / "depp.yaml")
    assert raised.value.hint == f"in {tmp_path} there are: deep.yaml"


def test_a_folder_is_not_a_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        read(tmp_path)


def changed(text: str, *overrides: str) -> Document:
    return overridden(parse(text, "f.yaml"), overrides)


def test_an_override_sets_a_value_and_its_place() -> None:
    document = changed("a: {b: 1, c: 2}\n", "a.b=1e-3", "d.e=[x, 2]")
    assert document.data == {"a": {"b": 0.001, "c": 2}, "d": {"e": ["x", 2]}}
    assert str(document.spot(("a", "b"))) == "--set:1:5"
    assert str(document.spot(("d", "e", 1))) == "--set:2:9"
    assert str(document.spot(("a", "c"))) == "f.yaml:1:14"


def test_a_later_override_wins() -> None:
    assert changed("a: 1\n", "a=2", "a=3").data == {"a": 3}
    assert changed("a: 1\n", "a={b: 1}", "a.b=2", "a.c=3").data == {"a": {"b": 2, "c": 3}}


def test_an_override_below_a_word_makes_a_section_of_it() -> None:
    assert changed("every: auto\n", "every.layers=10").data == {"every": {"layers": 10}}


def test_an_override_leaves_the_document_as_it_was() -> None:
    document = parse("a: {b: {c: 1}}\n", "f.yaml")
    overridden(document, ["a.b.c=2", "a.x=3"])
    assert document.data == {"a": {"b": {"c": 1}}}


def test_an_override_takes_the_problems_of_what_it_replaces_away() -> None:
    assert changed("a: !tag 1\n", "a=2").problems == ()


@pytest.mark.parametrize("override", ["a", "", "=1", "a..b=1", ".a=1"])
def test_what_is_no_override_is_refused(override: str) -> None:
    (problem,) = changed("a: 1\n", override).problems
    assert str(problem).startswith(f"--set:1:1: not an override (got {override!r};")


def test_a_member_of_a_list_is_not_overridden_alone() -> None:
    (problem,) = changed("a: [1, 2]\n", "a.0.b=1").problems
    assert str(problem) == "--set:1:1: a: a list is set whole, as in betas=[0.9, 0.99]"


def test_bad_syntax_in_an_override_is_placed_in_it() -> None:
    with pytest.raises(ConfigError, match=r"^--set:2:\d+: not YAML"):
        changed("a: 1\n", "a=1", "a=[1")


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    problems(text)


@given(st.text("ab:-[]{},&*!|>'\"%@`#? \n\t<~01.", max_size=60))
def test_any_text_of_yaml_signs_is_read_or_refused(text: str) -> None:
    problems(text)
