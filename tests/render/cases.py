"""Runs that every figure and format has to cope with, with their verdicts; made once."""

from __future__ import annotations

from functools import cache

import numpy as np

from gradscope.record.finding import Report
from gradscope.record.run import Run
from tests import synthetic


def _sixty_decades() -> Run:
    return synthetic.network("sixty-decades", 61, 100, gain=0.1, loss=np.geomspace(1e30, 1e-30, 100))


MAKERS = {
    "shallow": (lambda: synthetic.healthy_relu(5, 40), synthetic.healthy_report),
    "vanishing": (lambda: synthetic.plain_sigmoid(20, 200), synthetic.vanishing_report),
    "deep": (lambda: synthetic.plain_sigmoid(50, 300, clip=0.2), synthetic.vanishing_report),
    "thousand": (lambda: synthetic.plain_sigmoid(1000, 60, gain=0.95), synthetic.vanishing_report),
    "exploding": (lambda: synthetic.exploding(20, 200), synthetic.nonfinite_report),
    "dead": (lambda: synthetic.dead_signal(20, 200), synthetic.vanishing_report),
    "recurrent": (lambda: synthetic.recurrent(100), synthetic.healthy_report),
    "forgetful": (lambda: synthetic.recurrent(100, factor=0.7), synthetic.forgetful_report),
    "one-layer": (lambda: synthetic.healthy_relu(1, 30), synthetic.healthy_report),
    "one-step": (lambda: synthetic.healthy_relu(8, 1), synthetic.healthy_report),
    "two-steps": (lambda: synthetic.plain_sigmoid(8, 2), synthetic.vanishing_report),
    "three-layers": (lambda: synthetic.plain_sigmoid(3, 200), synthetic.vanishing_report),
    "long-names": (lambda: synthetic.long_names(12), synthetic.healthy_report),
    "thousand-long-names": (lambda: synthetic.long_names(1000), synthetic.vanishing_report),
    "sixty-decades": (_sixty_decades, synthetic.healthy_report),
    "nan-for-a-while": (synthetic.broken_for_a_while, lambda run: synthetic.nonfinite_report(run, 80)),
    "absent": (synthetic.absent, synthetic.healthy_report),
    "seldom": (lambda: synthetic.healthy_relu(8, 900, every=100), synthetic.healthy_report),
}


@cache
def case(name: str) -> tuple[Run, Report]:
    make, judge = MAKERS[name]
    run = make()
    return run, judge(run)
