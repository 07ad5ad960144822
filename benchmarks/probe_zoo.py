"""What ``gradscope.probe`` expects of the labelled trainings of the zoo, before any of them takes a step.

    python benchmarks/probe_zoo.py                       # all: the table, then how many are right; exit code 1 under 90 %
    python benchmarks/probe_zoo.py --seed 1              # the same trainings, other draws
    python benchmarks/probe_zoo.py relu-he-d16 -v        # some, by name, with what is said of them

A training is right where the probe names one of its labels and none that it neither has nor tolerates; a healthy one, and one
whose sickness training makes, where it names none. The last column says which count: those that are sick as they are drawn, and
the healthy ones.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from zoo import CASES, LABELS, Case

import gradscope
from gradscope import Finding, Severity

LEAST = 0.9
"""Share of the trainings that count of which the verdict has to be right."""
MADE_BY_TRAINING = {
    "lr-100-sgd-nan": "a learning rate",
    "poisson-exp-overflow-outlier": "one row of the data",
    "dead-relu-huge-lr": "a learning rate",
    "slow-sgd-1e-5": "a learning rate",
    "adam-lr-0.5-jagged": "a learning rate",
    "gd-quadratic-momentum-oscillates": "a learning rate",
    "rmsprop-lr-0.5-classifier": "a learning rate",
    "slow-adam-regression": "a learning rate",
}
"""Those whose network is sound as it is drawn, and what makes the training sick."""


def expected(case: Case, seed: int) -> list[Finding]:
    """The findings of warning and above that one batch forward and back lets expect."""
    setup = case.build(seed)
    found = gradscope.probe(setup.model, next(setup.batches), setup.loss_fn)
    return [f for f in found.report.findings if f.severity.rank >= Severity.WARNING.rank]


def right(case: Case, said: set[str]) -> bool:
    born = set() if case.name in MADE_BY_TRAINING else set(case.labels)
    return not said - case.labels - case.tolerated and bool(said & born) == bool(born)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="trainings; all of them where none is named")
    parser.add_argument("--seed", type=int, default=0, help="other draws of the same trainings")
    parser.add_argument("-v", "--verbose", action="store_true", help="what each finding says")
    options = parser.parse_args()
    if unknown := set(options.names) - set(CASES):
        parser.error(f"no training is called {min(unknown)}; there are {', '.join(CASES)}")
    torch.set_num_threads(1)
    good = counted = 0
    began = time.process_time()
    print("| training | labels | the probe expects | right | counts |\n|---|---|---|---|---|")
    for case in (CASES[name] for name in options.names or CASES):
        findings = expected(case, options.seed)
        said = {f.rule for f in findings} & set(LABELS)
        fits, made = right(case, said), MADE_BY_TRAINING.get(case.name)
        good, counted = good + (fits and not made), counted + (not made)
        told = [", ".join(sorted(names)) or "healthy" for names in (case.labels, said)]
        print(f"| {case.name} | {' | '.join(told)} | {'yes' if fits else '**no**'} | {f'no, {made}' if made else 'yes'} |")
        for finding in findings if options.verbose else ():
            print(f"      {finding.severity} {finding.code} {finding.message} Cause: {finding.cause}")
    share = good / counted if counted else 1.0
    print(f"\n{good} of {counted} right, {share:.0%}; seed {options.seed}, {time.process_time() - began:.0f} s of work")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
