"""The report is one file that loads nothing, in which names are data; the library in it is the one that was vendored."""

from __future__ import annotations

import json
import re
from hashlib import sha256

import pytest

from gradscope.detect.comparison import compare
from gradscope.render.report.page import ASSETS, LIBRARY, page
from gradscope.render.report.payload import payload
from gradscope.render.rows import labels
from gradscope.signals.attribution import WORDS
from tests import synthetic
from tests.render.cases import MAKERS, case

HOSTILE = "</script><img src=x onerror=alert(1)>"


def written(names: list[str]) -> str:
    runs, reports = zip(*(case(name) for name in names), strict=True)
    return page(payload(list(runs), list(reports), compare(list(runs), list(reports), labels(list(runs)))))


def data(html: str) -> str:
    found = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_of_run_makes_a_page_whose_data_is_json_without_nan(name: str) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(data(written([name])), parse_constant=refuse)


def test_several_runs_make_one_page() -> None:
    assert data(written(["vanishing", "shallow"]))


def test_the_page_asks_for_nothing_from_anywhere() -> None:
    html = written(["vanishing"]).replace(LIBRARY.read_text("utf-8"), "")
    assert not re.search(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(?!data:)', html)
    assert "default-src 'none'" in html
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", html)


def test_a_layer_with_markup_for_a_name_is_data() -> None:
    run = synthetic.healthy_relu(5, 10)
    report = synthetic.healthy_report(run)
    run.manifest.catalogue.layers[0].__dict__["name"] = HOSTILE
    run.manifest.__dict__["name"] = HOSTILE
    html = page(payload([run], [report], compare([run], [report], [HOSTILE])))
    assert "<img" not in html.replace(LIBRARY.read_text("utf-8"), "")


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_every_kind_of_a_gradients_change_has_a_colour_of_its_own(theme: str) -> None:
    style = (ASSETS / "report.css").read_text("utf-8")
    block = style.partition(theme + " {")[2].partition("}")[0]
    colours = dict(re.findall(r"--kind-(\w+): (#\w{6});", block))
    assert colours.keys() == WORDS.keys()
    assert len(set(colours.values())) == len(WORDS)


def test_the_library_is_the_one_that_was_vendored_with_its_licence() -> None:
    origin = (ASSETS / "vendor" / "ORIGIN.txt").read_text("utf-8")
    assert f"sha256: {sha256(LIBRARY.read_bytes()).hexdigest()}" in origin
    assert (ASSETS / "vendor" / "LICENSE-echarts.txt").exists()
    assert LIBRARY.stat().st_size < 2_000_000
