from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gradscope.cli import live
from gradscope.render.terminal import PLAIN
from gradscope.signals.profiles import Profile


def profile(*values: float | None) -> Profile:
    """Two steps: the first level, the second with these values, None where nothing was recorded."""
    row = [math.nan if v is None else v for v in values]
    present = np.array([[True] * len(row), [v is not None for v in values]])
    names = tuple(f"layers.{i}" for i in range(len(row)))
    return Profile("backward_norm", np.array([0, 1]), names, np.array([[1.0] * len(row), row]), present)


def test_the_gradient_by_layer_is_one_line_from_input_to_output() -> None:
    assert live.gradient(profile(1e-14, 1e-7, 1.0), PLAIN) == "gradient  input ▁▅█ output  1e-14 to 1"
    assert live.gradient(profile(0.0, math.nan), PLAIN) == "gradient  input 0× output  nothing finite"


def test_a_deep_network_fits_the_line() -> None:
    assert len(live.gradient(profile(*[1.0] * 1_000), PLAIN)) <= PLAIN.width


def test_nothing_recorded_shows_nothing() -> None:
    empty = Profile("backward_norm", np.empty(0, np.int64), (), np.empty((0, 0)), np.empty((0, 0), bool))
    assert live.gradient(empty, PLAIN) == ""


@pytest.mark.parametrize(("seconds", "text"), [(7.9, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_time_is_told_in_hours_minutes_seconds(seconds: float, text: str) -> None:
    assert live.duration(seconds) == text


def test_the_picture_states_step_loss_speed_and_time_left() -> None:
    view = live.LiveView("deep", PLAIN)
    view.first_step, view.began, view.begun_look = 0, 100.0, 110.0
    text = rendered(view, 50, 200)
    assert "deep  step 51 of 200" in text
    assert "loss 2.5" in text
    assert "5 steps/s  0:29 left" in text


def rendered(view: live.LiveView, step: int, steps: int) -> str:
    import torch

    from gradscope.scope import watch
    from gradscope.training.loop import Progress

    model = torch.nn.Linear(2, 2)
    with watch(model) as scope:
        out = io.StringIO()
        progress = Progress(step, steps, scope, torch.tensor(2.5))
        Console(file=out, width=120).print(view.picture(progress))
    return out.getvalue()


def test_looks_keep_to_their_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    view = live.LiveView("deep", PLAIN)
    progress: Any = type("P", (), {"step": 0})()
    looks = 0
    while clock[0] < 100.0:
        if view.due(progress):
            looks += 1
            clock[0] += 0.1
            view.looked()
        clock[0] += 0.01
    assert looks * 0.1 <= 0.03 * clock[0]


def test_nobody_is_shown_anything_without_a_terminal() -> None:
    with live.live_view("deep", quiet=False) as watcher:
        assert watcher is None
