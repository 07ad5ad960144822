from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gradscope

PUBLIC = [
    "Finding",
    "GradscopeError",
    "Report",
    "Run",
    "Scope",
    "Severity",
    "Verdict",
    "__version__",
    "check",
    "load_run",
    "plot",
    "probe",
    "watch",
]


def test_the_public_names_are_these_and_sorted() -> None:
    assert gradscope.__all__ == PUBLIC
    assert sorted(gradscope.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(gradscope, name)
    assert name in dir(gradscope)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__


def test_the_names_for_type_checkers_are_the_names_at_run_time() -> None:
    """What stands under TYPE_CHECKING is what ``__getattr__`` gives, from the same modules."""
    tree = ast.parse(Path(gradscope.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    imports = [n for n in block.body if isinstance(n, ast.ImportFrom)]
    assert {alias.name: n.module for n in imports for alias in n.names} == gradscope._HOMES
    assert {*gradscope._HOMES, "__version__"} == set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gradscope' has no attribute 'wtach'"):
        gradscope.wtach


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, gradscope; heavy = {'torch', 'numpy', 'pyarrow', 'matplotlib', 'sklearn', 'pydantic', 'typer', 'rich'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
