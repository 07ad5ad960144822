"""The picture in docs/report.md: the top of a report as a browser shows it. Left as it is where there is no Chromium."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from gradscope.cli.app import app
from scripts.examples import ROOT
from tests.render.report.browser import PROGRAM, Browser

CONFIG = ROOT / "configs" / "small-init.yaml"


def draw(target: Path) -> bool:
    """Train, report, and photograph it down to the end of the profile; whether there was a browser to do it with."""
    if PROGRAM is None:
        return False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words in (["run", str(CONFIG), "--out", str(folder / "run"), "-q"], ["report", str(folder / "run")]):
            CliRunner().invoke(app, words, catch_exceptions=False)
        browser = Browser(PROGRAM, folder / "browser")
        try:
            with browser.page(1280, 900) as shown:
                shown.open((folder / "run" / "report.html").as_uri())
                bottom = shown.run("document.querySelector('#profile-legend').getBoundingClientRect().bottom + scrollY")
                Image.fromarray(shown.picture()[: int(bottom) + 8]).save(target)
        finally:
            browser.close()
    return True
