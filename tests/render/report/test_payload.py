from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import numpy as np
import pytest

from gradscope.detect.comparison import compare
from gradscope.render.report.payload import SERIES, payload
from gradscope.render.rows import labels
from gradscope.signals.events import events, series
from gradscope.signals.profiles import depth_profile
from gradscope.signals.ratios import backward_ratio
from gradscope.signals.states import State
from tests import synthetic
from tests.render.cases import MAKERS, case


def told(*names: str) -> dict[str, Any]:
    runs, reports = zip(*(case(name) for name in names), strict=True)
    return payload(list(runs), list(reports), compare(list(runs), list(reports), labels(list(runs))))


def unpacked(text: str, kind: str, *shape: int) -> Any:
    return np.frombuffer(b64decode(text), np.dtype(f"<{kind}")).reshape(shape or -1)


def profile_of(data: dict[str, Any], signal: str, run: int = 0) -> dict[str, Any]:
    return next(p for p in data["runs"][run]["profiles"] if p["id"] == signal)


@pytest.mark.parametrize("name", ["vanishing", "exploding", "dead"])
def test_the_gradient_is_told_as_its_logarithm_and_state_at_every_step_and_layer(name: str) -> None:
    profile, found = depth_profile(case(name)[0]).measured, profile_of(told(name), "backward_norm")
    assert found["steps"] == profile.steps.tolist()
    shape = profile.values.shape
    states, logs = unpacked(found["states"], "u1", *shape), unpacked(found["values"], "f4", *shape)
    assert (states == profile.states).all()
    sized = np.isin(states, [State.FINITE, State.UNDERFLOW])
    assert np.allclose(logs[sized], np.log10(profile.values[sized]), rtol=3e-7)  # float32 has 24 bits
    assert np.isnan(logs[~sized]).all()


def test_a_finding_leads_to_the_signal_it_was_measured_in_and_to_its_layers() -> None:
    data, run = told("vanishing"), case("vanishing")[0]
    finding = data["runs"][0]["findings"][0]
    assert finding["show"] == {"chart": "profile", "signal": "backward_ratio", "step": 199}
    assert finding["at"]["backward_norm"] == [(0, 11)]
    assert len(profile_of(data, "backward_ratio")["names"]) == len(backward_ratio(run).layers)
    assert ["cause", "each sigmoid passes on at most a quarter of the gradient, and there are 19 of them (GS202)"] in finding[
        "facts"
    ]


def test_a_finding_through_time_leads_to_its_layers_time_steps() -> None:
    finding = told("forgetful")["runs"][0]["findings"][0]
    assert finding["show"]["signal"] == "time_ratio:rnn"
    assert finding["at"]["time_ratio:rnn"] == [[0, 26]]


def test_a_finding_about_the_loss_leads_to_the_loss() -> None:
    from dataclasses import replace

    run, report = case("vanishing")
    about = replace(report.findings[0], signal="loss", layers=(), steps=(7, 30))
    data = payload([run], [replace(report, findings=(about,))], compare([run], [report], ["x"]))
    assert data["runs"][0]["findings"][0]["show"] == {"chart": "series", "signal": "loss", "step": 7}


def test_series_and_events_are_those_of_the_record() -> None:
    run, told_run = case("deep")[0], told("deep")["runs"][0]
    for column in SERIES:
        found = series(run, column)
        assert found.empty == (column not in told_run["series"])
        if not found.empty:
            shown = told_run["series"][column]
            assert (unpacked(shown["steps"], "i4") == found.measured.steps).all()
            assert (unpacked(shown["values"], "f8") == found.measured.values).all()
    clipped = [step for first, last in told_run["events"]["clipped"] for step in range(first, last + 1)]
    assert clipped == events(run).clipped.tolist()
    assert clipped


def test_what_is_told_stays_small_however_long_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradscope.render.report import payload as module

    monkeypatch.setattr(module, "CELLS", 20_000)
    run = synthetic.plain_sigmoid(50, 3_000)
    data = payload([run], [synthetic.vanishing_report(run)], compare([run], [synthetic.vanishing_report(run)], ["x"]))
    cells = sum(len(p["steps"]) * len(p["names"]) for p in data["runs"][0]["profiles"])
    assert cells <= 2 * 20_000  # no profile has fewer than FEWEST frames
    assert len(json.dumps(data)) < 2_000_000


def test_every_layers_name_stands_once_for_all_profiles_and_runs() -> None:
    data = told("vanishing", "vanishing")
    names = data["names"]
    assert len(names) == len(set(names))
    shown = {tuple(names[i] for i in p["names"]) for run in data["runs"] for p in run["profiles"]}
    assert tuple(depth_profile(case("vanishing")[0]).layers) in shown


@pytest.mark.parametrize("name", MAKERS)
def test_every_place_that_a_finding_names_is_in_its_profile(name: str) -> None:
    for run in told(name)["runs"]:
        counts = {p["id"]: len(p["names"]) for p in run["profiles"]}
        for finding in run["findings"]:
            assert finding["show"]["chart"] == "series" or finding["show"]["signal"] in counts
            for signal, spans in finding["at"].items():
                assert all(0 <= first <= last < counts[signal] for first, last in spans)
