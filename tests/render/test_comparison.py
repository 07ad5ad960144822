from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gradscope.detect.comparison import compare
from gradscope.record.finding import Report
from gradscope.record.manifest import Manifest
from gradscope.record.run import Run
from gradscope.render.comparison import write
from gradscope.render.terminal import PLAIN, Terminal
from tests import synthetic
from tests.render.cases import case


def written(*names: str, terminal: Terminal = PLAIN) -> str:
    runs, reports = zip(*(case(name) for name in names), strict=True)
    labels = [f"{name}-{i}" for i, name in enumerate(names)]
    return write(compare(runs, reports, labels), runs, terminal=terminal)


def test_verdicts_and_numbers_stand_side_by_side() -> None:
    lines = written("vanishing", "shallow").splitlines()
    rows = {line[:20].strip(): line[20:].split() for line in lines[1:10] if line}
    assert lines[0].split() == ["vanishing-0", "shallow-1"]
    assert rows["verdict"] == ["✗", "pathological", "✓", "healthy"]
    assert rows["findings"] == ["GS101", "none"]
    assert rows["layers"] == ["20", "5"]
    assert rows["steps"] == ["200,", "finished", "40,", "finished"]


def test_rules_that_were_not_asked_of_a_run_stand_below_what_was_found() -> None:
    runs, reports = zip(*(case(name) for name in ("vanishing", "shallow")), strict=True)
    lines = write(compare(runs, [replace(reports[0], not_asked=("GS103",)), reports[1]], ["a", "b"]), runs).splitlines()
    assert [line.split() for line in lines[2:4]] == [["findings", "GS101", "none"], ["not", "asked", "GS103"]]
    assert "not asked" not in written("vanishing", "shallow")


def test_what_is_gone_is_said_with_what_was_measured() -> None:
    text = written("vanishing", "shallow")
    assert "what changed from vanishing-0 to shallow-1\n  gone    error GS101 vanishing-gradients" in text
    assert "layers.0-layers.22 (12 of 20)\n          backward_ratio was 1.67e-12" in text
    assert "  new     error GS101 vanishing-gradients" in written("shallow", "vanishing")


def test_the_gradients_are_drawn_on_one_scale() -> None:
    lines = written("vanishing", "shallow").splitlines()
    sick, well = (
        next(line for line in lines if line.startswith(name) and "▁▂▃▄▅▆▇█".find(line[22]) >= 0) for name in ("van", "sha")
    )
    assert sick[22:42].startswith("▁▁")
    assert set(well[22:27]) == {"█"}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_the_terminal(width: int) -> None:
    text = written("vanishing", "shallow", "exploding", "deep", "recurrent", terminal=Terminal(width))
    assert max(len(line) for line in text.splitlines()) <= width
    assert text.count("vanishing-0") > 4
    assert "✗" in text


def test_a_narrow_terminal_gets_whole_words() -> None:
    """Names stand above what they name: of five runs two beside each other in 40 columns, the first of them four times."""
    configs = [{"model": {"init": {"scheme": scheme}}} for scheme in ("xavier_normal", "kaiming_normal")]
    runs, reports = zip(*(case(name) for name in ("vanishing", "shallow")), strict=True)
    runs = tuple(Run(replace(r.manifest, config=c), r._tables) for r, c in zip(runs, configs, strict=True))
    compared = compare(runs, reports, ["vanishing", "shallow"])
    narrow, wide = (write(compared, runs, terminal=Terminal(width)) for width in (40, 200))
    assert Counter(narrow.split()) - Counter(wide.split()) == Counter()
    lines = narrow.splitlines()
    assert lines[1:3] == ["verdict", "  ✗ pathological     ✓ healthy"]
    assert lines[lines.index("model.init.scheme") + 1].split() == ["xavier_normal", "kaiming_normal"]
    assert any(set(line.split("  ")[0]) <= set("▁▂▃▄▅▆▇█") and len(line.split("  ")[0]) == 20 for line in lines if line)


def test_where_not_all_fit_each_table_begins_with_the_first_run() -> None:
    heads = [line.split() for line in written(*["vanishing"] * 5).splitlines() if line.startswith(" " * 22 + "van")]
    assert heads[:2] == [["vanishing-0", "vanishing-1", "vanishing-2"], ["vanishing-0", "vanishing-3", "vanishing-4"]]


def test_a_terminal_without_unicode_gets_ascii() -> None:
    text = written("vanishing", "shallow", "exploding", terminal=Terminal(unicode=False))
    assert text.isascii()
    assert "x pathological" in text


def test_configs_are_told_apart_key_by_key_and_only_where_a_table_differs() -> None:
    configs = [{"model": {"norm": "none", "bias": True}, "seed": 0}, {"model": {"norm": "none"}, "seed": 1}]
    runs = [Run(Manifest("r", config=c), {}) for c in configs]
    text = write(compare(runs, [Report("r", 0)] * 2, ["a", "b"]), runs)
    assert ["model.bias", "true", "-"] in [line.split() for line in text.splitlines()]
    assert "model.norm" not in text
    assert "nothing was found in either" in text
    same = [runs[0], runs[0]]
    assert "nothing that was recorded was set up differently" in write(compare(same, [Report("r", 0)] * 2, ["a", "b"]), same)


def test_more_differences_than_can_be_read_are_counted() -> None:
    runs = [Run(Manifest("r", config={f"k{i}": v for i in range(30)}), {}) for v in (0, 1)]
    assert "and 6 more; --format json has all of them" in write(compare(runs, [Report("r", 0)] * 2, ["a", "b"]), runs)


def test_a_name_from_a_model_is_data() -> None:
    run, report = case("vanishing")
    finding = replace(report.findings[0], layers=("[red]\x1b[31mx",))
    runs = [synthetic.empty("[bold]a"), run]
    text = write(compare(runs, [Report("a", 0), replace(report, findings=(finding,))], ["[bold]a", "b"]), runs)
    assert "[bold]a" in text
    assert "\\x1b" in text
