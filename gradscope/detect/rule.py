"""What a rule is made of: thresholds that say where they come from, and how sure a finding is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gradscope.record.finding import Finding, Severity

if TYPE_CHECKING:
    from gradscope.detect.case import Case


@dataclass(frozen=True)
class Threshold:
    """One number that a verdict depends on. ``source`` is its derivation, or the evidence that it was set on."""

    name: str
    value: float
    unit: str
    source: str


class Rule(Protocol):
    """One file of ``detect/rules``. Its docstring is its page in the catalogue; see ``catalogue.SECTIONS`` for the parts.

    ``FOR_GOOD``, where a rule has it and it is true, says that nothing takes its findings back: a running training is told of
    them at once. ``AFTER`` names the rules whose findings this one reads (``case.found``), ``EXAMPLE`` a config that brings it
    about.
    """

    CODE: str
    NAME: str
    SEVERITY: Severity
    THRESHOLDS: tuple[Threshold, ...]
    AFTER: tuple[str, ...]
    EXAMPLE: str

    def check(self, case: Case) -> Iterable[Finding]: ...


def confidence(value: float, threshold: float) -> float:
    """How sure a finding is whose value lies beyond its threshold by this ratio: 0.5 at it, 0.95 tenfold beyond, 1 far out.

    1 - 0.5 / ratio, whichever side the threshold is crossed to.
    """
    if not (value > 0.0 and threshold > 0.0 and math.isfinite(value)):
        return 1.0
    return 1.0 - 0.5 / max(value / threshold, threshold / value)
