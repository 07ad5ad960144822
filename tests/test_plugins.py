from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gradscope.errors import PluginError, UsageError, did_you_mean
from gradscope.plugins import Registry
from gradscope.training.config import OptionsOf


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A package with two files, and a distribution beside it that adds some by entry points."""
    package = tmp_path / "drawing_of_a_test" / "shapes"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "half_moon.py").write_text("corners = 2\n")
    (package / "square.py").write_text("raise RuntimeError('imported')\n")
    (package / "_base.py").touch()
    (tmp_path / "stranger.py").write_text("corners = 5\n")
    (tmp_path / "stranger_broken.py").write_text("import nothing_of_this_name\n")
    metadata = tmp_path / "stranger-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[gradscope.shapes]\nstar = stranger\ncross = stranger_broken\nhalf-moon = stranger\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith(("drawing_of_a_test", "stranger"))]:
        monkeypatch.delitem(sys.modules, name)  # another test's, with a folder that is gone
    return Registry("drawing_of_a_test.shapes", noun="shape")


def test_names_are_the_files_and_what_others_add(shapes: Registry) -> None:
    assert list(shapes) == ["cross", "half-moon", "square", "star"]
    assert len(shapes) == 4


def test_listing_names_imports_nothing(shapes: Registry) -> None:
    assert "square" in shapes
    assert not {"drawing_of_a_test.shapes.square", "stranger"} & set(sys.modules)


def test_a_name_is_imported_when_it_is_asked_for(shapes: Registry) -> None:
    assert shapes["half-moon"].corners == 2
    with pytest.raises(RuntimeError, match="imported"):
        shapes["square"]


def test_a_name_of_another_package_is_loaded(shapes: Registry) -> None:
    assert shapes["star"].corners == 5


def test_a_file_here_wins_over_an_entry_point(shapes: Registry) -> None:
    assert shapes["half-moon"].corners == 2
    assert "half-moon" not in shapes.added


def test_an_entry_point_that_cannot_be_loaded_names_its_package(shapes: Registry) -> None:
    with pytest.raises(PluginError, match="the shape 'cross' of stranger cannot be loaded: ModuleNotFoundError") as raised:
        shapes["cross"]
    assert raised.value.hint == "update or uninstall stranger, which registers it under gradscope.shapes"


def test_a_registered_kind_without_options_is_told(shapes: Registry) -> None:
    with pytest.raises(PluginError, match="the shape 'star' has no pydantic model Options"):
        OptionsOf(shapes)["star"]


def test_an_unknown_name_is_told_with_the_nearest(shapes: Registry) -> None:
    with pytest.raises(KeyError):
        shapes["sqare"]
    with pytest.raises(UsageError, match="no shape is called 'sqare'; did you mean 'square'\\?") as raised:
        shapes.load("sqare")
    assert raised.value.hint == "there are: cross, half-moon, square, star"


def test_did_you_mean_is_silent_without_a_near_choice() -> None:
    assert did_you_mean("RELU", ["relu", "gelu"]) == "; did you mean 'relu'?"
    assert did_you_mean("zebra", ["relu", "gelu"]) == ""
    assert did_you_mean("x", []) == ""


def test_a_beginning_that_one_choice_alone_has_is_near() -> None:
    rules = ["vanishing-gradients", "loss-spike", "loss-instability"]
    assert did_you_mean("vanish", rules) == "; did you mean 'vanishing-gradients'?"
    assert did_you_mean("loss", rules) == ""
    assert did_you_mean("va", rules) == ""


def test_the_registries_of_gradscope_list_their_files_without_importing_torch() -> None:
    code = (
        "import sys; from gradscope.training.config import ARCHITECTURES, DATASETS; "
        "assert 'mlp' in ARCHITECTURES and 'digits' in DATASETS; ARCHITECTURES['mlp'].Options(); DATASETS['digits'].Options(); "
        "assert not {'torch', 'numpy', 'pyarrow', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
