from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradscope.detect.baseline import beyond, read_baseline
from gradscope.errors import UsageError
from gradscope.record.finding import Finding, Report, Severity, Verdict


def finding(code: str = "GS101", severity: Severity = Severity.ERROR, layers: tuple[str, ...] = ("a", "b")) -> Finding:
    return Finding(code, "a-rule", severity, "message", "signal", 1e-9, 1e-2, layers=layers)


def compared(tmp_path: Path, before: Report, now: Report) -> Report:
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(before.to_dict()))
    return beyond(now, read_baseline(path))


BEFORE = Report("before", 10, (finding(), finding("GS301", Severity.WARNING, ())))


@pytest.mark.parametrize(
    "known",
    [
        finding(),
        finding(layers=("b",)),
        finding(severity=Severity.WARNING),
        finding("GS301", Severity.WARNING, ()),
    ],
)
def test_a_finding_that_the_baseline_has_is_not_told(tmp_path: Path, known: Finding) -> None:
    report = compared(tmp_path, BEFORE, Report("now", 10, (known,)))
    assert report.findings == ()
    assert report.known == 1
    assert report.verdict is Verdict.HEALTHY


@pytest.mark.parametrize(
    "new",
    [
        finding("GS102"),
        finding(layers=("b", "c")),
        finding("GS301", Severity.ERROR, ()),
        finding("GS301", Severity.WARNING, ("a",)),
    ],
)
def test_a_finding_that_is_new_worse_or_elsewhere_is_told(tmp_path: Path, new: Finding) -> None:
    report = compared(tmp_path, BEFORE, Report("now", 10, (finding(), new)))
    assert report.findings == (new,)
    assert report.run == "now"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the baseline is not JSON"),
        ("[]", "got no schema version; expected 1"),
        ('{"schema_version": 9, "findings": []}', "got schema version 9; expected 1"),
        ('{"schema_version": 1}', "not a verdict to compare with: KeyError"),
        ('{"schema_version": 1, "findings": [{"code": "GS101", "severity": "awful", "layers": []}]}', "'awful' is not a valid"),
    ],
)
def test_a_file_that_is_no_verdict_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "baseline.json").write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        read_baseline(tmp_path / "baseline.json")
    assert raised.value.hint == "gradscope check RUN --format json -o FILE writes one"


def test_a_missing_baseline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.json: the baseline cannot be read: No such file"):
        read_baseline(tmp_path / "none.json")
