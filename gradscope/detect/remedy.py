"""What a remedy is made of, and which ones a finding is given: ranked, in a config's keys or in lines of PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gradscope.detect.case import Case
from gradscope.numbers import exact
from gradscope.plugins import Registry
from gradscope.record.finding import Finding
from gradscope.theory.activations import ACTIVATIONS

REMEDIES = Registry("gradscope.detect.remedies", noun="remedy")
MOST = 5
"""Remedies that a finding is given; the others change more than these."""
MOST_IN_TORCH = 3
"""The same where each takes lines of code."""

Value = bool | int | float | str | Mapping[str, Any] | None
"""What a key of a config may be set to."""


@dataclass(frozen=True)
class Proposal:
    """One change of a config: key path -> value, and what is expected of it, in words with the number.

    ``hopeless`` says why theory expects no cure of it, or is None.
    """

    remedy: str
    changes: Mapping[str, Value]
    expects: str
    hopeless: str | None = None

    @property
    def assignments(self) -> str:
        """``model.activation=relu, model.init.gain=critical``."""
        return ", ".join(f"{key}={shown(value)}" for key, value in self.changes.items())


class Remedy(Protocol):
    """One file of ``detect/remedies``. Its docstring says what it does in the first line, then when it helps, and its source.

    ``ANSWERS`` names the rules whose findings it is for; ``rule/time`` stands for those of a rule that lie through time.
    ``COST`` is how much of the training it changes: 1 a number, 2 the scale of the weights, 3 their kind or the activation,
    4 what stands between layers, 5 the kind of layer; 0 what no key of a config can do. ``TORCH`` are the lines to change in
    one's own code, of 62 columns at most. ``propose`` gives changes of the config that the case was trained by, the likeliest
    first; it reads the case alone. A file may have ``suits(case)``: in a run without a config, whether its lines of PyTorch
    make sense for the layers that were seen.
    """

    ANSWERS: tuple[str, ...]
    COST: int
    TORCH: str

    def propose(self, case: Case) -> Iterable[Proposal]: ...


def shown(value: Value) -> str:
    """A value as a config has it, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return exact(value) if isinstance(value, float) else str(value)


def setting(case: Case, key: str) -> Any:
    """The value of a key (``model.init.gain``) in the config that the run was trained by; None where it has no such key."""
    value: Any = case.run.manifest.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def activation_of(case: Case) -> str | None:
    """The activation of most layers by theory's name, from the config or else from the modules that were seen."""
    named = setting(case, "model.activation")
    if named is not None:
        return str(named)
    by_kind = {name.replace("_", ""): name for name in ACTIVATIONS}
    kinds = [info.kind.lower() for info in case.run.catalogue.layers if info.activation is not None]
    known = [by_kind[kind] for kind in kinds if kind in by_kind]
    return max(known, key=known.count) if known else None


def rounded(value: float) -> float:
    """To two digits: what a person would write into a config."""
    return float(f"{value:.1e}")


def question(finding: Finding) -> str:
    """What a remedy answers: the rule, or ``rule/time`` where it is about the gradient through time."""
    return f"{finding.rule}/time" if finding.timesteps else finding.rule


def answering(finding: Finding) -> list[tuple[str, Remedy]]:
    """The remedies for a finding with their names, those that change least first."""
    asked = question(finding)
    found: list[tuple[str, Remedy]] = [(name, REMEDIES[name]) for name in REMEDIES if asked in REMEDIES[name].ANSWERS]
    return sorted(found, key=lambda entry: (entry[1].COST, entry[1].ANSWERS.index(asked), entry[0]))


def proposals(case: Case, finding: Finding) -> list[Proposal]:
    """Changes of the run's config that may cure a finding: those that theory expects a cure of first, least change first."""
    found = [p for _, remedy in answering(finding) for p in remedy.propose(case)]
    return sorted(found, key=lambda p: p.hopeless is not None)


def advice(case: Case, finding: Finding) -> tuple[str, ...]:
    """A finding's remedies in words. What another finding explains is cured with that one.

    A run of a config is told keys and numbers, any other the lines of PyTorch, which follow the words on lines of their own.
    """
    if finding.cause_code is not None and any(finding.cause_code == f.code for fs in case.found.values() for f in fs):
        return (f"cure {finding.cause_code} first: it explains this",)
    return (
        tuple(_in_keys(case, finding))[:MOST] if case.run.manifest.config else tuple(_in_torch(case, finding))[:MOST_IN_TORCH]
    )


def of_rule(name: str) -> list[tuple[str, Remedy]]:
    """The remedies that answer a rule's findings, across depth or through time, those that change least first."""
    asked = {name, f"{name}/time"}
    found: list[tuple[str, Remedy]] = [(key, REMEDIES[key]) for key in REMEDIES if asked & set(REMEDIES[key].ANSWERS)]
    return sorted(found, key=lambda entry: (entry[1].COST, entry[0]))


def summary(remedy: Remedy) -> str:
    """What it does: the first line of the docstring, as part of a sentence."""
    first = (remedy.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def reason(remedy: Remedy) -> str:
    """When it helps and why: what follows the first line of the docstring, without its source, on one line."""
    rest = (remedy.__doc__ or "").strip().partition("\n")[2].partition("Source:")[0]
    return " ".join(rest.split())


def _in_keys(case: Case, finding: Finding) -> Iterator[str]:
    told: set[str] = set()
    for p in proposals(case, finding):
        if p.remedy in told:
            continue
        told.add(p.remedy)
        if p.hopeless:
            yield f"no cure: {p.assignments}: {p.hopeless}"
        else:
            yield f"{summary(REMEDIES[p.remedy])}: {p.assignments} ({p.expects})"
    for _, remedy in answering(finding):
        if remedy.COST == 0:  # nothing in a config does it
            yield summary(remedy)


def _in_torch(case: Case, finding: Finding) -> Iterator[str]:
    for _, remedy in answering(finding):
        if not getattr(remedy, "suits", lambda _: True)(case):
            continue
        lines = "".join(f"\n    {line}" for line in remedy.TORCH.strip().splitlines())
        yield f"{summary(remedy)}{lines}"
