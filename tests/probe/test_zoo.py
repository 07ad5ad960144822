"""What a probe expects of labelled trainings of the zoo: those that are sick as they are drawn, and healthy ones."""

from __future__ import annotations

import pytest

import gradscope
from benchmarks.zoo import CASES, LABELS

DRAWN = (
    "relu-xavier-d30",
    "rnn-tanh-radius-0.5-T60",
    "lstm-forget-bias-minus-5",
    "batchnorm-plain-relu-d60",
    "tanh-input-times-255",
    "naive-log-softmax-overflow",
    "tanh-saturated-biases",
    "rezero-resmlp-16",
    "preln-transformer-8",
    "lstm-forget-bias-1-rows",
)
"""Of each kind; benchmarks/probe_zoo.py has them all."""


@pytest.mark.parametrize("name", DRAWN)
def test_the_verdict_to_expect_is_that_of_the_label(name: str) -> None:
    case = CASES[name]
    setup = case.build()
    found = gradscope.probe(setup.model, next(setup.batches), setup.loss_fn)
    loud = (gradscope.Severity.WARNING, gradscope.Severity.ERROR)
    said = {f.rule for f in found.report.findings if f.severity in loud} & set(LABELS)
    assert not said - case.labels - case.tolerated
    assert bool(said & case.labels) is not case.healthy
