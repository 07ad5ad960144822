"""A starter config is a config: the shipped one with every key, or a kind of network on data that it can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradscope.errors import UsageError
from gradscope.strict.section import Section, descriptions
from gradscope.training.build import build
from gradscope.training.config import ARCHITECTURES, Config, load_config
from gradscope.training.starter import likes, shipped, starter
from gradscope.training.trainer import Trainer


def loaded(text: str, folder: Path) -> Config:
    (folder / "made.yaml").write_text(text)
    return load_config(folder / "made.yaml")


@pytest.mark.parametrize("name", shipped())
def test_it_is_the_shipped_config_with_every_key(tmp_path: Path, name: str) -> None:
    _, text = starter(name)
    made, original = loaded(text, tmp_path), load_config(shipped()[name])
    assert made.model_copy(update={"name": original.name}) == original


@pytest.mark.parametrize("kind", [kind for kind in ARCHITECTURES if kind != "import"])
def test_every_kind_of_network_has_one_on_data_that_it_can_read(tmp_path: Path, kind: str) -> None:
    name, text = starter(kind)
    assert name == kind
    assert loaded(text, tmp_path).model.kind == kind


def test_every_key_stands_in_it_with_what_it_means(tmp_path: Path) -> None:
    _, text = starter("plain-sigmoid-20")
    words = " ".join(text.replace("#", " ").split())

    def check(section: Section) -> None:
        for key, meaning in descriptions(type(section)).items():
            if key not in ("name", "kind"):
                assert f"{key}:" in words
                assert meaning in words, meaning
            if isinstance(value := getattr(section, key), Section):
                check(value)

    check(loaded(text, tmp_path))
    assert max(len(line) for line in text.splitlines()) <= 128


def test_the_beginning_of_a_name_will_do_where_it_is_that_of_one() -> None:
    assert starter("plain-sigmoid") == starter("plain-sigmoid-20")
    with pytest.raises(UsageError, match="several configs begin with 'plain-': plain-relu-20, plain-sigmoid-20"):
        starter("plain-")


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(UsageError, match="called 'resnt'; did you mean 'resnet'"):
        starter("resnt")


def test_a_kind_that_is_nothing_without_its_keys_is_told() -> None:
    with pytest.raises(UsageError, match="a network of kind 'import' has no defaults to start from"):
        starter("import")


def test_every_like_says_what_it_is() -> None:
    assert {*shipped(), *ARCHITECTURES} - {"import"} == set(likes())
    assert all(likes().values())


@pytest.mark.parametrize("name", likes())
def test_every_one_takes_a_step(tmp_path: Path, made_up_files: Path, name: str) -> None:
    _, text = starter(name)
    (tmp_path / "made.yaml").write_text(text)
    files = ["data.published=false", "data.batch_size=16", f"data.path={made_up_files / 'cifar10'}"]
    needs_files = loaded(text, tmp_path).data.name == "cifar10"
    config = load_config(tmp_path / "made.yaml", ["device=cpu", *(files if needs_files else [])])
    assert Trainer(build(config)).step(0)[0].isfinite()
