# ruff: noqa: E501
"""What a sweep's file may say, and what it comes to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradscope.errors import ConfigError, UsageError
from gradscope.sweep.plan import key_of
from gradscope.training.config import load_config
from tests.sweep.conftest import SWEEP, plan


def cells(text: str, key: str = "x") -> tuple[object, ...]:
    return plan(f"base: base.yaml\naxes: {{{text}}}\n").axes[0].cells


@pytest.mark.usefixtures("base")
class TestAxes:
    @pytest.mark.parametrize(
        ("axis", "values"),
        [
            ("model.depth: [2, 5]", (2, 5)),
            ("model.depth: {range: [2, 30], step: 4}", (2, 6, 10, 14, 18, 22, 26, 30)),
            ("model.depth: {range: [2, 9], step: 4}", (2, 6)),
            ("model.depth: {range: [2, 5]}", (2, 3, 4, 5)),
            ("optimizer.lr: {range: [0.1, 0.5], step: 0.1}", (0.1, 0.2, 0.3, 0.4, 0.5)),
            ("optimizer.lr: {range: [0.1, 0.4], points: 3}", (0.1, 0.25, 0.4)),
            ("model.width: {log: [2, 64], points: 6}", (2, 4, 8, 16, 32, 64)),
            ("model.width: {log: [1, 4], points: 9}", (1, 2, 3, 4)),
            ("model.activation: [relu, tanh]", ("relu", "tanh")),
            ("model.residual: [false, {branch_scale: 0.5}]", (False, "{branch_scale: 0.5}")),
            ("net: {cases: {a: {model.depth: 2}, b: {model.depth: 3, model.width: 8}}}", ("a", "b")),
        ],
    )
    def test_an_axis_has_these_values(self, axis: str, values: tuple[object, ...]) -> None:
        assert cells(axis) == values

    def test_a_logarithmic_axis_is_that_of_numpy_to_six_digits(self) -> None:
        found = cells("optimizer.lr: {log: [1e-4, 1], points: 9}")
        assert np.allclose(np.array(found, float), np.geomspace(1e-4, 1, 9), rtol=5e-6)
        assert (found[0], found[-1]) == (1e-4, 1)

    def test_a_case_sets_all_its_keys(self) -> None:
        (a, b) = plan(
            "base: base.yaml\naxes: {net: {cases: {a: {model.depth: 2}, b: {model.depth: 4, model.width: 8}}}}\n"
        ).points
        assert a.config is not None
        assert b.config is not None
        assert (a.config.model.depth, a.config.model.width) == (2, 16)  # type: ignore[attr-defined]
        assert (b.config.model.depth, b.config.model.width) == (4, 8)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("base")
class TestPoints:
    def test_a_grid_has_every_combination_and_the_last_axis_is_the_fastest(self) -> None:
        points = plan(SWEEP).points
        assert len(points) == 2 * 2 * 2 * 2
        assert points[0].at == {"model.depth": 3, "model.activation": "relu", "schedule.warmup_steps": 0, "seed": 0}
        assert points[1].at["seed"] == 1

    def test_zipped_axes_go_together_and_seeds_are_crossed_with_them(self) -> None:
        found = plan("base: base.yaml\nmode: zip\naxes: {model.depth: [2, 3], model.width: [8, 9]}\nseeds: 2\n").points
        assert [tuple(p.at.values()) for p in found] == [(2, 8, 0), (2, 8, 1), (3, 9, 0), (3, 9, 1)]

    def test_a_point_is_the_config_that_run_would_take_with_these_overrides(self) -> None:
        point = next(p for p in plan(SWEEP).points if p.at["model.depth"] == 20 and p.at["model.activation"] == "sigmoid")
        overrides = ["model.depth=20", "model.activation=sigmoid", "model.init.scheme=xavier_normal"]
        same = load_config("base.yaml", overrides)
        assert point.config is not None
        assert key_of(same) == point.key
        assert point.config.name == "depth-20_activation-sigmoid_warmup_steps-0_seed-0"

    def test_the_key_is_of_what_is_trained_not_of_what_it_is_called(self) -> None:
        config = load_config("base.yaml")
        assert key_of(config) == key_of(config.model_copy(update={"name": "other"}))
        assert key_of(config) != key_of(config.model_copy(update={"seed": 1}))

    def test_a_contradiction_of_some_points_is_theirs(self) -> None:
        refused = [p for p in plan(SWEEP).points if p.refused]
        assert len(refused) == 8
        assert {p.at["schedule.warmup_steps"] for p in refused} == {9}
        assert (
            refused[0].refused == "schedule.warmup_steps: longer than the training (got 9; expected at most training.steps, 6)"
        )

    def test_a_base_may_stand_in_the_file(self) -> None:
        text = "base:\n  model: {kind: mlp, depth: 3}\n  data: {name: digits}\nseeds: 3\n"
        assert [p.config.seed for p in plan(text).points if p.config] == [0, 1, 2]

    def test_a_point_between_the_values_of_an_axis_can_be_made(self) -> None:
        made = plan("base: base.yaml\naxes: {model.depth: [2, 9]}\n").point({"model.depth": 5})
        assert made.config is not None
        assert made.config.model.depth == 5  # type: ignore[attr-defined]

    def test_an_axis_that_is_not_there_is_told(self) -> None:
        with pytest.raises(UsageError, match=r"no axis 'model\.dept'; did you mean 'model\.depth'"):
            plan(SWEEP).axis("model.dept")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("base: base.yaml\n", ["mine.yaml:1:1: axes: nothing differs: neither axes nor seeds"]),
        ("axes: {seed: [1]}\n", ["mine.yaml:1:1: base: missing"]),
        ("base: bse.yaml\nseeds: 2\n", ["mine.yaml:1:7: base: bse.yaml: no such file"]),
        ("base: 3\nseeds: 2\n", ["mine.yaml:1:7: base: wrong type (got 3; expected the path of a config, or a config)"]),
        ("base: base.yaml\nseed: 2\naxes: {seed: [1]}", ["mine.yaml:2:1: seed: unknown key (expected one of name, base, set, axes, mode, seeds, measure; did you mean 'seeds'?)"]),
        ("base: base.yaml\naxes:\n  model.dpth: [2]\n", ["mine.yaml:3:3: model.dpth: unknown key (expected one of kind, depth, width, activation, residual, norm, bias, dropout, init; did you mean 'depth'?)"]),
        ("base: base.yaml\naxes:\n  model.activation: [relu, tanhh]\n  model.depth: [2, 0]\n", ["mine.yaml:3:28: model.activation: unknown name (got 'tanhh'; expected one of relu, ", "mine.yaml:4:20: model.depth: too small (got 0; expected at least 1)"]),
        ("base: base.yaml\naxes:\n  model.depth: {rnge: [2, 3]}\n  model.width: []\n", ["mine.yaml:3:16: axes.model.depth: wrong type (got a section; expected a list, {range: ...}, {log: ...} or {cases: ...}; did you mean 'range'?)", "mine.yaml:4:16: axes.model.width: no value in it"]),
        ("base: base.yaml\naxes:\n  optimizer.lr: {log: [0, 1], points: 3}\n", ["mine.yaml:3:24: axes.optimizer.lr.log[0]: a logarithmic axis begins above 0 (got 0)"]),
        ("base: base.yaml\naxes:\n  optimizer.lr: {range: [1, 0]}\n", ["mine.yaml:3:25: axes.optimizer.lr.range: the last value is not above the first (got 1 and 0)"]),
        ("base: base.yaml\nset: {model.width: wide}\nseeds: 2\n", ["mine.yaml:2:20: model.width: wrong type (got 'wide'; expected a whole number)"]),
        ("base: base.yaml\nseeds: 2\nmeasure: [loss, los]\n", ["mine.yaml:3:17: measure[1]: no number is called 'los'; did you mean 'loss'?"]),
        ("base: base.yaml\nmode: zip\naxes: {model.depth: [1, 2], model.width: [3]}\n", ["mine.yaml:3:1: axes: zip needs as many values of each (model.depth has 2, model.width has 1)"]),
        ("base: base.yaml\nset: {schedule.warmup_steps: 9}\nseeds: 2\n", ["mine.yaml:2:30: schedule.warmup_steps: longer than the training (got 9; expected at most training.steps, 6)"]),
        ("base: base.yaml\naxes: {seed: {range: [0, 999]}, model.width: {range: [1, 999]}}\n", ["mine.yaml:2:1: axes: 999,000 points (expected at most 100,000)"]),
    ],
)  # fmt: skip
def test_every_problem_of_a_sweep_is_told_with_its_place(base: Path, text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as told:
        plan(text)
    assert len(told.value.problems) == len(problems), told.value.problems
    for found, expected in zip(told.value.problems, problems, strict=True):
        assert found.startswith(expected)


def test_a_problem_of_the_base_is_told_where_it_stands(base: Path) -> None:
    (base / "base.yaml").write_text("model: {kind: mlp, depht: 3}\ndata: {name: digits}\n")
    with pytest.raises(ConfigError, match=r"base\.yaml:1:20: model\.depht: unknown key .* did you mean 'depth'"):
        plan("base: base.yaml\nseeds: 2\n")


def test_problems_of_the_axes_and_of_the_base_are_told_together(base: Path) -> None:
    (base / "base.yaml").write_text("model: {kind: mlp, depht: 3}\ndata: {name: digits}\n")
    with pytest.raises(ConfigError) as told:
        plan("base: base.yaml\naxes: {model.width: 3}\n")
    assert [p.partition(": ")[0] for p in told.value.problems] == ["mine.yaml:2:21", "base.yaml:1:20"]


def test_the_points_are_mixed_so_that_the_first_ones_are_much_like_all_of_them(base: Path) -> None:
    made = plan("base: base.yaml\naxes: {model.depth: {range: [2, 40], step: 2}}\nseeds: 3\n", base)
    mixed = made.mixed()
    assert [point.key for point in mixed] == [point.key for point in made.mixed()]
    assert sorted(point.key for point in mixed) == sorted(point.key for point in made.points)
    depths = np.array([float(str(point.at["model.depth"])) for point in mixed])
    deviation = depths.std() / np.sqrt(np.arange(1, len(depths) + 1))  # of a mean of so many, drawn at random
    assert (abs(np.cumsum(depths) / np.arange(1, len(depths) + 1) - depths.mean()) < 3 * deviation).all()
    assert made.points[0].at["model.depth"] == 2  # the plan keeps the order of the file
