"""The catalogue of rules: one page each, made from the rule's docstring, its thresholds and its remedies."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass

from gradscope.detect.engine import RULES
from gradscope.detect.remedy import of_rule, reason, summary
from gradscope.detect.rule import Rule
from gradscope.errors import UsageError, did_you_mean
from gradscope.numbers import number

SECTIONS = ("What it detects", "Why it is bad", "Known false alarms", "What to do", "References")
"""The headings of a page, in order. The example and the thresholds stand before ``What to do``, which begins with the remedies;
what no remedy says, a rule has under that heading in its docstring."""


@dataclass(frozen=True)
class Row:
    """One line of the list: ``summary`` is the docstring's first."""

    code: str
    name: str
    severity: str
    summary: str


def rows() -> tuple[Row, ...]:
    """All rules by code, those of other packages included."""
    found = [(name, RULES[name]) for name in RULES]
    return tuple(
        Row(rule.CODE, name, str(rule.SEVERITY), _text(rule).partition("\n")[0])
        for name, rule in sorted(found, key=lambda entry: (entry[1].CODE, entry[0]))
    )


def find(name: str) -> tuple[str, Rule]:
    """A rule by name or code. Raises ``UsageError`` for one that does not exist."""
    found = {key: (row.name, RULES[row.name]) for row in rows() for key in (row.name, row.code)}
    if name not in found:
        raise UsageError(f"no rule is called {name!r}{did_you_mean(name, list(found))}", hint="gradscope rules lists them")
    return found[name]


def page(name: str) -> str:
    """The page of a rule, by name or code: Markdown."""
    key, rule = find(name)
    rest, references, sources = _text(rule).partition(f"## {SECTIONS[4]}\n")
    before, _, prose = rest.partition(f"## {SECTIONS[3]}\n")
    parts = [f"# {rule.CODE} {key}\n", f"Severity: {rule.SEVERITY}.\n", before.rstrip() + "\n"]
    if example := getattr(rule, "EXAMPLE", ""):
        parts.append(f"## Example\n\n`gradscope run configs/{example}.yaml` brings it about.\n")
    parts.append(f"## Thresholds\n\n{_thresholds(rule)}\n")
    if advice := "\n".join(text for text in (_remedies(key), prose.strip()) if text):
        parts.append(f"## {SECTIONS[3]}\n\n{advice}\n")
    return "\n".join([*parts, f"{references}{sources}\n"] if references else parts)


def index() -> str:
    """The list of rules with links to their pages: Markdown."""
    lines = "\n".join(f"| [{r.code}]({r.name}.md) | {r.name} | {r.severity} | {r.summary} |" for r in rows())
    return f"# Rules\n\n| code | name | severity | what it says |\n|---|---|---|---|\n{lines}\n"


def _thresholds(rule: Rule) -> str:
    lines = "\n".join(f"| {t.name} | {number(t.value)} | {t.unit} | {t.source} |" for t in rule.THRESHOLDS)
    return f"| name | value | unit | where it comes from |\n|---|---|---|---|\n{lines}"


def _remedies(name: str) -> str:
    """The remedies of a rule as their own files tell them, those that change least first."""
    told = [f"- **{key}**: {summary(remedy)}. {reason(remedy)}" for key, remedy in of_rule(name)]
    return "\n".join(textwrap.fill(text, 120, subsequent_indent="  ", break_on_hyphens=False) for text in told)


def _text(rule: Rule) -> str:
    return inspect.cleandoc(rule.__doc__ or "")
