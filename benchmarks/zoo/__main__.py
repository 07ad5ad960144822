"""Scores the verdicts of ``watch`` and ``check`` on the zoo of labelled trainings, and the plain gain test beside them.

    python benchmarks/zoo.py                    # all trainings: the table, then one JSON line
    python benchmarks/zoo.py relu-he-d16 -v     # some, by name, with what was said
    python benchmarks/zoo.py --seed 1           # the same trainings, other draws
    python benchmarks/zoo.py --min-f1 0.97 --max-false-alarms 0     # exit code 1 where it falls short

A label is said where ``check`` reports its rule as a warning or an error. What a training tolerates counts neither way.
Macro-F1 is the mean over the labels.
"""

from __future__ import annotations

import argparse
import json

import torch

from . import CASES
from .score import Answer, Result, scored


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="trainings; all of them where none is named")
    parser.add_argument("--seed", type=int, default=0, help="other draws of the same trainings")
    parser.add_argument("--min-f1", type=float, default=0.0)
    parser.add_argument("--max-false-alarms", type=int, default=len(CASES))
    parser.add_argument("-v", "--verbose", action="store_true", help="what was said of every training, not of wrong ones alone")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(CASES):
        parser.error(f"no training is called {min(unknown)}; there are {', '.join(CASES)}")
    torch.set_num_threads(1)
    result = scored([CASES[name] for name in options.names or CASES], options.seed)
    for answer in result.answers:
        if options.verbose or not answer.right:
            print(told(answer))
    print(table(result))
    print(json.dumps(summary(result)))
    short = result.rules.macro_f1 < options.min_f1 or len(result.rules.false_alarms) > options.max_false_alarms
    return int(short or result.crashed > 0)


def told(answer: Answer) -> str:
    """What was said of one training, with the messages."""
    case = answer.case
    said = f"CRASHED, {answer.crash}" if answer.crash else f"said {_listed(answer.said)}"
    lines = [f"{'right' if answer.right else 'WRONG'} {case.name}: {said}, expected {_listed(case.labels)}"]
    return "\n".join([*lines, *(f"      {f.severity} {f.code} {f.message}" for f in answer.findings)])


def table(result: Result) -> str:
    """By label, the rules first and the gain test beside them."""
    lines = [f"{'':26}{'rules':^24}{'plain gain test':^24}", f"{'label':26}" + 2 * f"{'precision':>10}{'recall':>8}{'F1':>6}"]
    for label, tally in result.rules.by_label.items():
        both = (tally, result.gain.by_label[label])
        lines.append(f"{label:26}" + "".join(f"{_two(t.precision):>10}{_two(t.recall):>8}{_two(t.f1):>6}" for t in both))
    scores = (result.rules, result.gain)
    lines.append(f"{'macro-F1':26}" + "".join(f"{score.macro_f1:24.3f}" for score in scores))
    lines.append(f"{'healthy, false alarm':26}" + "".join(f"{len(score.false_alarms):24}" for score in scores))
    return "\n".join(lines)


def summary(result: Result) -> dict[str, object]:
    answers = result.answers
    return {
        "cases": len(answers),
        "macro_f1": round(result.rules.macro_f1, 3),
        "exact": sum(answer.right for answer in answers),
        "healthy": sum(answer.case.healthy for answer in answers),
        "healthy_with_false_alarm": len(result.rules.false_alarms),
        "sick_and_silent": len(result.rules.silent),
        "crashed": result.crashed,
        "macro_f1_of_gain_test": round(result.gain.macro_f1, 3),
        "healthy_with_false_alarm_of_gain_test": len(result.gain.false_alarms),
        "seconds": round(result.seconds, 1),
        "cpu_seconds": round(result.cpu_seconds, 1),
    }


def _listed(labels: frozenset[str]) -> str:
    return ", ".join(sorted(labels)) or "healthy"


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    raise SystemExit(main())
