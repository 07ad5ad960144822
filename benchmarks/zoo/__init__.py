"""A zoo of small labelled trainings in plain torch, sick and healthy: ``CASES`` by name, each with why its labels hold.

docs/zoo.md has the evidence behind each label, and what diagnoses make of them.
"""

from __future__ import annotations

from . import healthy, sick
from .training import CASES, LABELS, Case, Setup, train

__all__ = ["CASES", "LABELS", "Case", "Setup", "healthy", "sick", "train"]
