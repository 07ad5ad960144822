# ruff: noqa: E501
from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradscope.cli.schema import config_schema
from gradscope.errors import ConfigError
from gradscope.strict.problems import validated
from gradscope.strict.section import Section, descriptions
from gradscope.strict.writing import dump
from gradscope.strict.yaml12 import parse
from gradscope.training.config import ARCHITECTURES, DATASETS, Config, load_config
from gradscope.training.optimizers import OPTIMIZERS, AdamW
from gradscope.training.schedule import SCHEDULES
from tests.training.datasets.loading import AT_HAND

DESIGN = """\
name: plain-sigmoid-20
seed: 0
device: auto
model:
  kind: mlp
  depth: 20
  width: 64
  activation: relu
  residual: false
  norm: none
  bias: true
  dropout: 0.0
  init: {scheme: kaiming_normal, gain: auto, fan: in, bias: 0.0}
data: {name: digits, batch_size: 128, validation: 0.2}
loss: cross_entropy
optimizer: {name: sgd, lr: 0.05, momentum: 0.9, weight_decay: 0.0}
schedule: {name: constant, warmup_steps: 0}
training: {steps: 200, accumulate: 1, clip_norm: null, clip_value: null, precision: float32, compile: false,
           validate_every: 50, checkpoint_every: null}
record: {every: auto}
detect: {ignore: [], stop_on: []}
"""
LEAST = "model: {kind: mlp}\ndata: {name: digits}\n"


def load(folder: Path, text: str, *overrides: str, name: str = "f.yaml") -> Config:
    path = folder / name
    path.write_text(text)
    return load_config(path, overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(folder, text, *overrides)
    return [p.removeprefix(f"{folder}/") for p in raised.value.problems]


def test_the_config_of_the_manual_is_what_the_least_config_stands_for(tmp_path: Path) -> None:
    assert load(tmp_path, DESIGN) == load(tmp_path, LEAST, "name=plain-sigmoid-20")


def test_model_and_data_are_required(tmp_path: Path) -> None:
    assert problems(tmp_path, "seed: 1\n") == ["f.yaml:1:1: model: missing", "f.yaml:1:1: data: missing"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("deep.yaml", "deep"),
        ("my nét (2).yaml", "my-n-t-2-"),
        (".hidden.yaml", "hidden"),
        ("ü.yaml", "run"),
        ("a.b.yaml", "a.b"),
    ],
)
def test_a_run_is_named_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    assert load(tmp_path, LEAST, name=file).name == name


@pytest.mark.parametrize("name", ["../up", "a/b", "-rf", "", "a\\nb", ".x", "x" * 101])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, LEAST + f'name: "{name}"\n')
    assert problem.startswith("f.yaml:3:7: name: ")


def test_sections_are_chosen_by_name(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST + "optimizer: {name: adamw, betas: [0.8, 0.95]}\nrecord: {every: {layers: 10}}\n")
    assert config.optimizer == AdamW(betas=(0.8, 0.95))
    assert config.to_yaml().count("layers: 10") == 1


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("training: {clip_norm: 1, clip_value: 2}", "3:38: training.clip_value: clip_norm and clip_value exclude each other; leave one of them null"),
        ("schedule: {warmup_steps: 300}", "3:26: schedule.warmup_steps: longer than the training (got 300; expected at most training.steps, 200)"),
        ("optimizer: {nesterov: true, momentum: 0}", "3:23: optimizer.nesterov: Nesterov's momentum needs momentum above 0"),
        ("optimizer: {nesterov: true, dampening: 0.1}", "3:23: optimizer.nesterov: Nesterov's momentum allows no dampening"),
        ("optimizer: {lr: .nan}", "3:17: optimizer.lr: not finite (got .nan; expected a finite number)"),
        ("optimizer: {lr: .inf}", "3:17: optimizer.lr: not finite (got .inf; expected a finite number)"),
        ("optimizer: {lr: 0}", "3:17: optimizer.lr: too small (got 0; expected above 0)"),
        ("optimizer: {lr: -1e-3}", "3:17: optimizer.lr: too small (got -0.001; expected above 0)"),
        ("optimizer: {name: adam, momentum: 0.9}", "3:25: optimizer.momentum: unknown key (expected one of name, lr, betas, eps, weight_decay)"),
        ("loss: crossentropy", "3:7: loss: unknown name (got 'crossentropy'; expected one of cross_entropy, mse, bce or your own, as module:name; did you mean 'cross_entropy'?)"),
        ("device: gpu", "3:9: device: unknown name (got 'gpu'; expected one of auto, cpu, cuda, mps)"),
        ("seed: -1", "3:7: seed: too small (got -1; expected at least 0)"),
        ("training: {steps: 0}", "3:19: training.steps: too small (got 0; expected at least 1)"),
        ("record: {every: 0}", "3:17: record.every: too small (got 0; expected at least 1)"),
        ("record: {every: never}", "3:17: record.every: unknown name (got 'never'; expected auto or a whole number or a section of keys)"),
        ("record: {every: {layer: 3}}", "3:18: record.every.layer: unknown key (expected one of parameters, layers, timesteps; did you mean 'layers'?)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_place(tmp_path: Path, lines: str, problem: str) -> None:
    assert problems(tmp_path, LEAST + lines + "\n") == [f"f.yaml:{problem}"]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("model.depth=0", "model.depth: too small (got 0; expected at least 1)"),
        ("data.validation=1", "data.validation: too large (got 1; expected below 1)"),
        ("data.validation=0", "data.validation: too small (got 0; expected above 0)"),
        (
            "data.batch_size=2000",
            "data.batch_size: larger than the training data (got 2000; expected at most 1438 of 1797 rows)",
        ),
        ("model.activation=rellu", "model.activation: unknown name (got 'rellu'; "),
        ("model.init.gain=-1", "model.init.gain: too small (got -1; expected at least 0)"),
        ("model.kind=mpl", "model.kind: unknown name (got 'mpl'; "),
    ],
)
def test_an_override_that_does_not_fit_is_placed_in_the_command_line(tmp_path: Path, override: str, problem: str) -> None:
    (found,) = problems(tmp_path, LEAST, override)
    assert found.startswith(f"--set:1:{override.index('=') + 2}: {problem}")


def test_an_override_without_a_value_is_placed_in_the_command_line(tmp_path: Path) -> None:
    assert problems(tmp_path, LEAST, "name=") == ["--set:1:1: name: wrong type (got nothing; expected a text)"]


def test_a_name_that_no_folder_may_have_is_not_allowed(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, LEAST, "name=a/b")
    assert found.startswith("--set:1:6: name: not allowed (got 'a/b'; expected letters, digits, ")


def test_a_batch_as_large_as_the_training_data_is_allowed(tmp_path: Path) -> None:
    assert load(tmp_path, LEAST, "data.batch_size=1438").data.batch_size == 1438


def test_an_unknown_rule_is_not_ignored_in_silence(tmp_path: Path) -> None:
    assert load(tmp_path, LEAST, "detect.ignore=[vanishing-gradients, GS102]").detect.ignore == ("vanishing-gradients", "GS102")
    (problem,) = problems(tmp_path, LEAST, "detect.ignore=[exploding-gradients, vanishing-gradient]")
    assert problem.startswith(
        "--set:1:37: detect.ignore[1]: no rule is called 'vanishing-gradient'; did you mean 'vanishing-grad"
    )


def test_a_rule_to_stop_on_exists_and_is_asked(tmp_path: Path) -> None:
    assert load(tmp_path, LEAST, "detect.stop_on=[non-finite, GS101]").detect.stop_on == ("non-finite", "GS101")
    (problem,) = problems(tmp_path, LEAST, "detect.stop_on=[nonfinite]")
    assert "detect.stop_on[0]: no rule is called 'nonfinite'; did you mean 'non-finite'?" in problem
    (problem,) = problems(tmp_path, LEAST, "detect.stop_on=[GS103]", "detect.ignore=[non-finite]")
    assert "detect.stop_on[0]: 'GS103' is among the rules that are not asked, detect.ignore" in problem


def test_a_problem_that_shows_later_has_its_place_too(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST, "data.batch_size=8")
    assert str(config.problem("data.batch_size", "too large")) == "--set:1:17: data.batch_size: too large"
    assert str(config.problem("data.name", "gone")) == f"{tmp_path}/f.yaml:2:14: data.name: gone"
    made = Config.model_validate({"model": {}, "data": {}})
    assert str(made.problem("data.name", "gone")) == "data.name: gone"


def test_a_config_is_frozen_and_equal_by_its_values(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]
    assert config == Config.model_validate({"name": "f", "model": {}, "data": {}})
    assert copy.deepcopy(config) == config


FITTING = {kind: {"layout": "rows"} for kind in ARCHITECTURES.built_in if 3 not in ARCHITECTURES[kind].Options.reads}
"""Options of the digits for an architecture that reads no images."""
MSE = {name: {"loss": "mse"} for name in AT_HAND if DATASETS[name].Options().regression}
EVERY_KIND = [
    *({"model": {"kind": kind}, "data": FITTING.get(kind, {})} for kind in ARCHITECTURES.built_in if kind != "import"),
    *({"data": {"name": name}, **MSE.get(name, {})} for name in AT_HAND if name != "copying"),
    {"model": {"kind": "rnn"}, "data": {"name": "copying"}},
    {"data": {"name": "npz", "path": "a.npz"}},
    {"data": {"name": "mnist"}},
    {"model": {"kind": "import", "factory": "my.nets:Small", "kwargs": {"width": 3, "sizes": [1, 2.5], "more": {"a": None}}}},
    {"data": {"name": "import", "factory": "my:rows"}, "loss": "torch.nn:SmoothL1Loss"},
    {"data": {"name": "fashion-mnist", "validation": 0.1}},
    {"data": {"name": "cifar10", "augmentation": {"crop_padding": 4, "flip": True}}},
    *({"optimizer": {"name": name}} for name in OPTIMIZERS),
    *({"schedule": {"name": name}} for name in SCHEDULES),
    {"record": {"every": 7}},
    {"record": {"every": {"timesteps": 3}}},
    {"training": {"clip_norm": 1e-5, "precision": "bfloat16"}},
    {"model": {"residual": {"branch_scale": "1/sqrt(depth)"}, "init": {"gain": 1}}},
    {"name": "1e3"},
    {"name": "true"},
]


@pytest.mark.parametrize("part", EVERY_KIND, ids=json.dumps)
def test_the_resolved_config_is_read_back_the_same(part: dict[str, Any]) -> None:
    config = Config.model_validate({"model": {}, "data": {}, **part})
    again = validated(Config, parse(config.to_yaml(), "config.resolved.yaml"))
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def sections(model: type[Section]) -> Iterator[type[Section]]:
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from sections(kind)


def every_section() -> list[type[Section]]:
    chosen = [r[name].Options for r in (ARCHITECTURES, DATASETS) for name in r.built_in]
    found = [s for m in (Config, *chosen, *OPTIMIZERS.values(), *SCHEDULES.values()) for s in sections(m)]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("model", every_section(), ids=lambda m: f"{m.__module__}.{m.__name__}")
def test_every_key_says_what_it_means(model: type[Section]) -> None:
    assert model.__doc__
    silent = set(model.model_fields) - set(descriptions(model)) - {"kind", "name"}
    assert silent == set()


def test_the_schema_takes_every_kind_and_describes_every_key() -> None:
    schema = config_schema()
    assert schema["required"] == ["model", "data"]
    kinds = json.dumps(schema["properties"]["model"])
    assert all(f'"const": "{kind}"' in kinds for kind in ARCHITECTURES.built_in)
    assert "\\n" not in json.dumps(schema)


MUTANTS = st.sampled_from(
    [None, True, False, 0, -1, 1, 3, 10**9, 10**30, 0.0, 1e-3, -2.5, 1e308, math.nan, math.inf, -math.inf, "", "relu", "rellu", "auto",
     "yes", "1e-3", "x" * 300, "\x00", "naïve", [], [1], [[]], {}, {"a": 1}, {"name": "sgd"}, {"kind": "mlp"}, {"scheme": None}, {"every": {}}]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The config of the manual with one to five keys replaced, removed or added, anywhere."""
    data = parse(DESIGN, "f.yaml").data
    for _ in range(draw(st.integers(1, 5))):
        section = data
        while True:
            key = draw(st.sampled_from([*section, "extra", "dept"]))
            inner = section.get(key)
            if not isinstance(inner, dict) or not inner or draw(st.booleans()):
                break
            section = inner
        if key in section and draw(st.integers(0, 3)) == 0:
            del section[key]
        else:
            section[key] = copy.deepcopy(draw(MUTANTS))
        if not data:
            break
    return data


def judged(text: str) -> Config | tuple[str, ...]:
    """The config that a text is, or all its problems."""
    try:
        return validated(Config, parse(text, "f.yaml"))
    except ConfigError as error:
        return error.problems


@settings(max_examples=800, deadline=None)
@given(mutated())
def test_a_mutated_config_is_good_or_every_problem_has_a_place(data: dict[str, Any]) -> None:
    outcome = judged(dump(data))
    if isinstance(outcome, Config):
        assert judged(outcome.to_yaml()) == outcome
    else:
        assert outcome
        for problem in outcome:
            assert problem.startswith("f.yaml:")
            assert not re.search("\n|pydantic|Input should|function-", problem)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_mutated_text_is_good_or_every_problem_has_a_place(data: st.DataObject) -> None:
    text = DESIGN
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 6))
        put = data.draw(st.text("{}[]:,-#&*!|>'\"%@` \t\n?~.0e", max_size=4))
        text = text[:at] + put + text[at + cut :]
    outcome = judged(text)
    assert isinstance(outcome, Config) or all(p.startswith("f.yaml:") for p in outcome)
