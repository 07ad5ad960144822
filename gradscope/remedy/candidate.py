"""A config with remedies applied: the text that would be written, and what is to be expected of it before it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gradscope.detect.case import Case
from gradscope.detect.remedy import REMEDIES, Proposal, proposals, shown
from gradscope.errors import ConfigError, GradscopeError
from gradscope.probe import Probe, probe
from gradscope.record.finding import Finding, Severity
from gradscope.strict.document import Document
from gradscope.strict.splicing import Edit, UnsplicableError, spliced
from gradscope.strict.writing import dump
from gradscope.strict.yaml12 import overridden, parse
from gradscope.training.build import build
from gradscope.training.config import Config, config_from
from gradscope.training.device import failures_are_told, own_random_state, resolve

BORN = ("model",)
"""Sections of a config that decide how a network begins; what other keys do shows in the training alone."""


@dataclass(frozen=True)
class Outlook:
    """What a probe of the untrained network says: the gradient's mean factor per layer, as measured on one batch and as theory
    predicts it (None where there is none), and the codes of the findings to expect.
    """

    gain: float | None
    predicted: float | None
    codes: tuple[str, ...]

    @classmethod
    def of(cls, found: Probe) -> Outlook:
        gains = [layer.predicted.gain for layer in found.layers if layer.predicted and layer.predicted.gain]
        mean = math.exp(sum(math.log(g) for g in gains) / len(gains)) if gains else None
        codes = [f.code for f in found.report.findings if f.severity.rank >= Severity.WARNING.rank]
        return cls(found.reach.gain if found.reach else None, mean, tuple(dict.fromkeys(codes)))


@dataclass(frozen=True)
class Candidate:
    """``given`` is the document as it was read, ``edits`` all that differs from it, ``applied`` the remedies."""

    given: Document
    target: Path
    edits: tuple[Edit, ...]
    applied: tuple[Proposal, ...] = ()

    @property
    def name(self) -> str:
        """``activation``, ``normalisation+learning-rate-down``; ``given`` without any."""
        return "+".join(p.remedy for p in self.applied) or "given"

    @property
    def changes(self) -> dict[str, Any]:
        """Key path -> value of all remedies."""
        return {key: value for p in self.applied for key, value in p.changes.items()}

    @property
    def assignments(self) -> str:
        """``model.activation=relu, optimizer.lr=0.01``."""
        return ", ".join(f"{key}={shown(value)}" for key, value in self.changes.items())

    @property
    def cost(self) -> int:
        """How much of the training it changes."""
        return sum(REMEDIES[p.remedy].COST for p in self.applied)

    @property
    def hopeless(self) -> str | None:
        return next((p.hopeless for p in self.applied if p.hopeless), None)

    @cached_property
    def text(self) -> str:
        """The file that would be written."""
        try:
            return spliced(self.given, self.edits)
        except UnsplicableError as error:
            head = f"# The values of {self.given.file}, changed; its text could not be kept: {error}\n"
            return head + dump(self._values())

    @cached_property
    def config(self) -> Config:
        """What would be trained: what the file is read as. Raises ``ConfigError`` where the network cannot be so."""
        return config_from(parse(self.text, str(self.target)))

    def with_remedy(self, proposal: Proposal, why: Sequence[Finding]) -> Candidate:
        """One more remedy. A key that was changed before keeps what it was in the file."""
        reasons = ", ".join(dict.fromkeys(f"{f.code} {f.rule}" for f in why))
        config: Any = self.config.model_dump(mode="json")
        known = {e.where: e for e in self.edits}
        for key, value in proposal.changes.items():
            where = tuple(key.split("."))
            old = known.get(where)
            plain = dict(value) if hasattr(value, "items") else value  # type: ignore[arg-type]
            known[where] = replace(old, value=plain) if old else Edit(where, plain, _was(self.given, config, where), reasons)
        return replace(self, edits=tuple(known.values()), applied=(*self.applied, proposal))

    def outlook(self) -> Outlook:
        """Build the network and probe it. Raises ``GradscopeError`` where that cannot be."""
        device = resolve(self.config.device)
        with own_random_state(device), failures_are_told(device):
            setup = build(self.config)
            return Outlook.of(probe(setup.model, setup.first_batch(), setup.loss))

    def _values(self) -> Any:
        overrides = [f"{'.'.join(map(str, e.where))}={shown(e.value)}" for e in self.edits]
        return overridden(parse(self.given.text, self.given.file), overrides).data


def given_as(document: Document, overrides: Sequence[str], target: Path) -> Candidate:
    """The config as it was given: a file and what the command line sets. Raises ``ConfigError`` with all its problems."""
    full = overridden(document, overrides)
    config_from(full)
    try:
        before: Any = config_from(document).model_dump(mode="json")
    except ConfigError:  # the file alone is none
        before = document.data
    edits: dict[tuple[str, ...], Edit] = {}
    for override in overrides:
        where = tuple(override.partition("=")[0].strip().split("."))
        edits = {w: e for w, e in edits.items() if w[: len(where)] != where}
        if where not in document.places or _at(document.data, where) != _at(full.data, where):
            edits[where] = Edit(where, _at(full.data, where), _was(document, before, where), "set on the command line")
    return Candidate(document, target, tuple(edits.values()))


def candidates(parent: Candidate, case: Case, findings: Iterable[Finding]) -> Iterator[Candidate]:
    """What answers these findings, each with one more remedy; without what cannot be built or changes nothing."""
    seen = [parent.config]
    findings = list(findings)
    for finding in findings:
        for proposal in proposals(case, finding):
            found = parent.with_remedy(proposal, [f for f in findings if f.rule == finding.rule])
            try:
                config = found.config
            except ConfigError:  # this architecture has no such key or value
                continue
            if config not in seen:
                seen.append(config)
                yield found


def ranked(found: Iterable[Candidate], given: Outlook | None) -> list[tuple[Candidate, Outlook | None]]:
    """Those of which a cure is expected first, among them those that change least; with the outlook of each."""
    told: list[tuple[Candidate, Outlook | None]] = []
    for candidate in found:
        outlook = given
        if any(key.startswith(BORN) for key in candidate.changes):
            try:
                outlook = candidate.outlook()
            except GradscopeError:
                continue
        told.append((candidate, outlook))
    return sorted(told, key=lambda t: (t[0].hopeless is not None, bool(t[1] and t[1].codes), t[0].cost))


def _was(document: Document, values: Any, where: Sequence[str]) -> str:
    """What stood at a place, or what it was without being there."""
    return shown(_at(values, where)) + ("" if where in document.places else " (by default)")


def _at(data: Any, where: Sequence[str]) -> Any:
    for part in where:
        data = data.get(part) if isinstance(data, dict) else None
    return data
