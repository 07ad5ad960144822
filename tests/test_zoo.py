"""The zoo of labelled trainings: a dozen of them get their labels, and its page tells of all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks.zoo import CASES, LABELS
from benchmarks.zoo.__main__ import main
from benchmarks.zoo.score import Score, diagnose
from benchmarks.zoo.training import EXPLODING, VANISHING

PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"
SHORT = (
    "relu-xavier-d30",
    "rnn-tanh-radius-0.5-T60",
    "lstm-forget-bias-minus-5",
    "relu-mlp-d20-large-init",
    "naive-log-softmax-overflow",
    "dead-relu-huge-lr",
    "tanh-saturated-biases",
    "adam-lr-0.5-jagged",
    "slow-sgd-1e-5",
    "rezero-resmlp-16",
    "loss-times-1e-4-adam",
    "logistic-regression",
    "frozen-first-layers",
)
"""Each label, and healthy ones that look sick: quick ones, and those whose verdict is promised."""


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_short_form_has_every_label_and_healthy_ones() -> None:
    assert {label for name in SHORT for label in CASES[name].labels} == set(LABELS)
    assert sum(CASES[name].healthy for name in SHORT) >= 4


@pytest.mark.parametrize("name", SHORT)
def test_a_training_gets_its_labels_and_no_other(name: str) -> None:
    answer = diagnose(CASES[name])
    assert answer.crash is None
    assert answer.said == CASES[name].labels, answer.findings


def test_what_is_tolerated_counts_neither_way_and_what_is_missed_or_wrong_does() -> None:
    sick, healthy = CASES["relu-xavier-d30"], CASES["logistic-regression"]
    score = Score()
    score.add(sick, frozenset([VANISHING, *sick.tolerated]))
    assert score.macro_f1 == 1.0
    score.add(sick, frozenset(sick.tolerated))
    score.add(healthy, frozenset([VANISHING, EXPLODING]))
    vanishing = score.by_label[VANISHING]
    assert (vanishing.hits, vanishing.wrong, vanishing.missed) == (1, 1, 1)
    assert vanishing.precision == vanishing.recall == vanishing.f1 == 0.5
    assert score.by_label[EXPLODING].f1 == 0.0
    assert score.macro_f1 == 0.25
    assert (score.false_alarms, score.silent) == ([healthy.name], [sick.name])


def test_the_command_prints_a_table_and_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["naive-log-softmax-overflow", "--min-f1", "1"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["macro_f1"] == 1.0
    assert any(line.split()[:4] == ["non-finite", "1.00", "1.00", "1.00"] for line in table)


def test_the_page_has_each_training_with_its_labels_and_why() -> None:
    rows = dict(re.findall(r"^\| ([\w.-]+) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    for case in CASES.values():
        labels, why, *_ = re.split(r" (?<!\\)\| ", rows[case.name])
        said, _, tolerated = labels.partition(" (")
        assert set(said.split(", ")) == (case.labels or {"healthy"}), case.name
        assert set(filter(None, tolerated.rstrip(")").split(", "))) == case.tolerated, case.name
        assert why.replace("\\|", "|") == case.why, case.name
