"""What ``gradscope.probe`` expects of the labelled runs of the zoo, before any of them is trained.

python benchmarks/probe_zoo.py [--seed 1] [NAME ...]; exit code 1 under 90 %. A run is right where
the probe names one of its labels, and none of the zoo's that it neither has nor tolerates; a healthy one, and one whose
sickness training makes, where it names nothing. The last column says which runs count: those whose sickness is born at
initialisation, and the healthy ones.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from zoo import CASES, LABELS

import gradscope

LEAST = 0.9
"""Share of the runs that count of which the verdict has to be right."""
MADE_BY_TRAINING = {
    "lr-100-sgd-nan": "a learning rate",
    "poisson-exp-overflow-outlier": "one row of the data, in a later batch",
    "dead-relu-huge-lr": "a learning rate",
    "slow-sgd-1e-5": "a learning rate",
    "adam-lr-0.5-jagged": "a learning rate",
    "gd-quadratic-momentum-oscillates": "a learning rate",
    "rmsprop-lr-0.5-classifier": "a learning rate",
    "slow-adam-regression": "a learning rate",
}
"""Runs of the zoo whose network is sound, and what makes them sick."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seed", type=int, default=0, help="other draws of the same runs")
    parser.add_argument("-v", "--verbose", action="store_true", help="what each finding says")
    options = parser.parse_args()
    torch.set_num_threads(1)
    right = counted = 0
    print("| run | labels | probe expects | right | counts |\n|---|---|---|---|---|")
    began = time.perf_counter()
    for case in CASES.values():
        if options.names and case.name not in options.names:
            continue
        setup = case.build(options.seed)
        found = gradscope.probe(setup.model, next(setup.batches), setup.loss_fn)
        findings = [f for f in found.report.findings if f.severity.rank >= gradscope.Severity.WARNING.rank]
        said = dict.fromkeys(f.rule for f in findings if f.rule in LABELS)
        born = case.labels if case.name not in MADE_BY_TRAINING else frozenset()
        beyond = set(said) - case.labels - case.tolerated
        fits = not beyond and bool(set(said) & born) == bool(born)
        counts = case.name not in MADE_BY_TRAINING
        right, counted = right + (fits and counts), counted + counts
        labels = ", ".join(sorted(case.labels)) or "healthy"
        made = f"no: made by {MADE_BY_TRAINING[case.name]}" if not counts else "yes"
        print(f"| {case.name} | {labels} | {', '.join(said) or 'healthy'} | {'yes' if fits else '**no**'} | {made} |")
        for finding in findings if options.verbose else ():
            print(f"    {finding.message} {finding.cause or ''}")
    share = right / counted if counted else 1.0
    seconds = time.perf_counter() - began
    print(f"\n{right} of {counted} right, {share:.0%}; {seconds:.1f} s, seed {options.seed}")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
