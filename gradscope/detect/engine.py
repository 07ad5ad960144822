"""``check``: every rule on one run, the findings sorted, and what explains what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter

from gradscope.detect.case import Case
from gradscope.detect.remedy import advice
from gradscope.detect.rule import Rule
from gradscope.errors import UsageError, did_you_mean
from gradscope.plugins import Registry
from gradscope.record.finding import Finding, Report, Severity
from gradscope.record.run import Run

RULES = Registry("gradscope.detect.rules", noun="rule")


@dataclass(frozen=True)
class Settings:
    """Which rules may speak, by name or code: all of them, or those in ``select``, without those in ``ignore``."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def wants(self, name: str, code: str) -> bool:
        chosen = not self.select or name in self.select or code in self.select
        return chosen and name not in self.ignore and code not in self.ignore


def check(run: Run, settings: Settings = Settings(), *, remedies: bool = True) -> Report:
    """The verdict on a run, live or loaded: deterministic, and a function of what was recorded alone.

    Every rule is judged, since one may explain another; ``settings`` choose what is reported. Raises ``UsageError`` where
    they name a rule that does not exist, and for what is no run. Without ``remedies`` findings say what is wrong, and not what
    to do.
    """
    if not isinstance(run, Run):
        raise UsageError(f"check: a Run is judged (got {type(run).__name__})", hint="gradscope.load_run(FOLDER) gives one")
    require_rules((*settings.select, *settings.ignore))
    return reported(judged(run, remedies=remedies), settings) if run.step_count else Report(run.name, 0)


def reported(case: Case, settings: Settings = Settings()) -> Report:
    """The report on a case that was judged."""
    rules = ordered()
    asked = {name: settings.wants(name, rule.CODE) for name, rule in rules.items()}
    said = [f for name in rules if asked[name] for f in case.found[name]]
    serious = any(f.severity.rank >= Severity.WARNING.rank for found in case.found.values() for f in found)
    remark = None if serious else _remark(case)
    return Report(
        case.run.name,
        case.run.step_count,
        tuple(ranked(said)),
        remark,
        gradients=not case.blind,
        not_asked=tuple(sorted(rule.CODE for name, rule in rules.items() if not asked[name])),
    )


def _remark(case: Case) -> str | None:
    if case.blind:
        if not any(parameter.trainable for parameter in case.run.catalogue.parameters):
            return "No gradient was recorded: nothing that was watched is trainable."
        return "No gradient was recorded: another model is trained than the one that is watched, or gradients are never read."
    if not case.stalled:
        return None
    steps = case.run.step_count
    after = f"{steps:,} step{'s' if steps > 1 else ''}"
    return f"After {after} {case.learned}: more of them may show what is wrong."


def judged(run: Run, *, remedies: bool = True) -> Case:
    """The case of a run that has a step, with the findings of every rule and the remedies of each."""
    case = Case(run)
    for name, rule in ordered().items():
        case.found[name] = tuple(rule.check(case))
    for name, findings in case.found.items() if remedies else ():
        case.found[name] = tuple(f if f.remedies else replace(f, remedies=advice(case, f)) for f in findings)
    return case


def require_rules(names: Iterable[str]) -> None:
    """Raises ``UsageError`` for a name that is neither a rule's name nor its code."""
    wanted = tuple(names)
    if not wanted:
        return
    known = [*RULES, *(rule.CODE for rule in RULES.values())]
    for name in wanted:
        if name not in known:
            raise UsageError(f"no rule is called {name!r}{did_you_mean(name, known)}", hint="gradscope rules lists them")


def ordered() -> dict[str, Rule]:
    """All rules by name, each after those whose findings it reads; otherwise by code."""
    rules: dict[str, Rule] = {name: RULES[name] for name in RULES}
    by_code = sorted(rules, key=lambda name: (rules[name].CODE, name))
    order = TopologicalSorter({name: [n for n in getattr(rules[name], "AFTER", ()) if n in rules] for name in by_code})
    return {name: rules[name] for name in order.static_order()}


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Worst first, then by code and layers."""
    return sorted(findings, key=lambda f: (-f.severity.rank, f.code, f.layers, f.steps))
