import io
import re
import time
from contextlib import suppress

import numpy as np
import pytest

from gradscope.record.finding import Finding, Severity
from gradscope.render.live import HISTORY, LiveView, duration
from gradscope.render.terminal import Terminal
from gradscope.signals.profiles import Profile

FALLING = 0.24 ** np.arange(20)[::-1]


def row(values, step: int) -> Profile:
    """One recorded step of a profile."""
    names = tuple(f"l{i}" for i in range(len(values)))
    return Profile("backward_norm", np.array([step]), names, np.asarray(values, float)[None], np.ones((1, len(values)), bool))


def bare(text: str) -> str:
    """Without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def vanishing(message: str = "The gradient at layers.0 is next to nothing.") -> Finding:
    return Finding("GS101", "vanishing-gradients", Severity.ERROR, message, "hidden_backward_ratio", 1e-9, 1e-2)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def train(steps: int, seconds: float, *, terminal: Terminal, gradient=FALLING, start: int = 0) -> tuple[str, int]:
    """What is written of a training whose steps take this long, and how many updates there were."""
    stream, clock, updates = io.StringIO(), Clock(), 0
    with LiveView("sick", steps, stream, start=start, terminal=terminal, clock=clock) as view:
        for step in range(start, steps):
            clock.now += seconds
            if view.due(step):
                view.update(step, 2.3 / (step + 1), None if gradient is None else row(gradient, step))
                updates += 1
    return stream.getvalue(), updates


def test_in_ci_a_training_says_ten_plain_lines_and_the_last_step():
    text, updates = train(1000, 0.1, terminal=Terminal())
    lines = text.splitlines()
    assert updates == len(lines) == 10
    assert lines[0] == "sick: step 100 of 1,000, loss 0.023, 10 steps/s, 1:30 left"
    assert lines[-1] == "sick: step 1,000 of 1,000, loss 0.0023, 10 steps/s, 0:00 left"
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_quick_training_in_ci_says_its_last_step_alone():
    text, _ = train(1000, 1e-6, terminal=Terminal())
    assert text.splitlines()[0].startswith("sick: step 1,000 of 1,000")


def test_a_terminal_is_redrawn_a_few_times_a_second_and_no_more():
    _, updates = train(1000, 0.01, terminal=Terminal(interactive=True))
    assert 30 <= updates <= 41


def test_a_terminal_shows_progress_loss_time_left_and_the_strip():
    text, _ = train(100, 1.0, terminal=Terminal(width=120, interactive=True))
    for part in (
        "sick",
        "step 40 of 100",
        "loss 0.0575",
        "1 steps/s",
        "1:00 left",
        "gradient  input",
        "▁▁▁▂▂▃▃▃▄▄▅▅▆▆▆▇▇███",
        "1.67e-12 to 1",
    ):
        assert part in text


def test_zero_and_nan_in_the_gradient_are_signs_with_their_meaning():
    gradient = np.array([0.0, 1.0, np.nan])
    text, _ = train(3, 1.0, terminal=Terminal(width=120, interactive=True), gradient=gradient)
    assert "0▅×" in text
    assert "×: NaN, 0: exactly 0" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_view_fits_the_terminal(width):
    text, _ = train(20, 1.0, terminal=Terminal(width=width, interactive=True))
    for line in bare(text).replace("\r", "\n").split("\n"):
        assert len(line) <= width


def test_a_terminal_without_colour_or_unicode_gets_neither():
    text, _ = train(20, 1.0, terminal=Terminal(interactive=True, unicode=False))
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)
    assert not set("▁▂▃▄▅▆▇█") & set(text)


def test_a_resumed_training_counts_its_speed_from_where_it_began():
    text, _ = train(200, 1.0, terminal=Terminal(), start=100)
    assert text.splitlines()[0] == "sick: step 110 of 200, loss 0.02091, 1 steps/s, 1:30 left"


def test_the_time_left_forgets_the_slow_first_steps():
    stream, clock = io.StringIO(), Clock()
    with LiveView("sick", 10_000, stream, terminal=Terminal(interactive=True, width=200), clock=clock) as view:
        for step in range(5_000):
            clock.now += 10.0 if step == 0 else 0.01
            if view.due(step):
                view.update(step, 1.0)
    assert "0:50 left" in stream.getvalue().rpartition("step ")[2]


def test_a_gradient_that_was_not_measured_is_left_out():
    text, _ = train(3, 1.0, terminal=Terminal(interactive=True), gradient=None)
    assert "gradient" not in text


def test_the_stream_is_restored_when_the_training_fails():
    stream = io.StringIO()
    view = LiveView("sick", 10, stream, terminal=Terminal(interactive=True))
    with suppress(RuntimeError), view:
        view.update(0, 1.0, row(FALLING, 0))
        raise RuntimeError
    assert "\x1b[?25h" in stream.getvalue().rpartition("\x1b[?25l")[2]


def test_a_step_between_two_redraws_costs_next_to_nothing():
    with LiveView("sick", 10**9, io.StringIO(), terminal=Terminal(interactive=True)) as view:
        view.update(0, 1.0, row(FALLING, 0))
        start = time.process_time()
        for step in range(10_000):
            view.due(step)
        assert time.process_time() - start < 0.1


def test_durations_are_said_as_on_a_clock():
    assert [duration(s) for s in (7, 754, 3723)] == ["0:07", "12:34", "1:02:03"]


def test_the_map_grows_with_the_training_from_left_to_right():
    text, _ = train(100, 1.0, terminal=Terminal(width=124, interactive=True))
    frames = [re.findall(r"by step  output (\S+)", frame) for frame in bare(text).split("sick")]
    widths = [len(found[0]) for found in frames if found]
    assert widths == sorted(widths)
    assert widths[-1] == 100
    assert "input █" not in text.rpartition("by step")[2]  # the smallest gradient is at the input, at the bottom


def test_a_finding_is_shown_with_its_step_from_the_next_redraw_on():
    stream = io.StringIO()
    with LiveView("sick", 10, stream, terminal=Terminal(interactive=True, width=120)) as view:
        view.due(2)
        view.found(vanishing())
        view.update(4, 1.0)
    assert "step 4  error GS101 vanishing-gradients: The gradient at layers.0" in bare(stream.getvalue())


def test_of_many_findings_the_latest_are_shown_and_the_others_counted():
    stream = io.StringIO()
    with LiveView("sick", 10, stream, terminal=Terminal(interactive=True, width=80)) as view:
        for i in range(5):
            view.due(i)
            view.found(vanishing(f"finding {i}"))
        view.update(6, 1.0)
    text = stream.getvalue()
    assert "2 before" in text
    assert "finding 1" not in text
    assert "finding 4" in text


def test_in_ci_a_finding_is_a_line_of_its_own_at_once():
    stream = io.StringIO()
    with LiveView("sick", 10, stream, terminal=Terminal()) as view:
        view.due(2)
        view.found(vanishing())
    assert stream.getvalue() == "sick: step 4: error GS101 vanishing-gradients: The gradient at layers.0 is next to nothing.\n"


def test_in_ci_no_gradient_is_asked_for():
    assert not LiveView("sick", 10, io.StringIO(), terminal=Terminal()).shows_gradients


def test_what_a_long_training_shows_takes_bounded_memory():
    with LiveView("sick", 10**6, io.StringIO(), terminal=Terminal(interactive=True)) as view:
        for step in range(3 * HISTORY):
            view.update(step, 1.0, row(FALLING, step))
        assert len(view._history.steps) <= HISTORY


@pytest.mark.parametrize(("width", "total"), [(80, 20_000), (80, 2_000_000), (100, 20_000), (200, 2_000_000)])
def test_the_first_line_is_one_line_however_long_the_name_and_the_numbers(width, total):
    stream, clock = io.StringIO(), Clock()
    terminal = Terminal(width, interactive=True)
    with LiveView("a-run-with-quite-a-long-name-for-a-terminal", total, stream, terminal=terminal, clock=clock) as view:
        for step in (total // 2, total // 2 + 1):
            clock.now += 60.0
            view.due(step)
            view.update(step, -1.2345e-17)
    lines = [line for line in bare(stream.getvalue()).replace("\r", "\n").splitlines() if line.strip()]
    assert all(line.startswith("a-run") for line in lines)  # nothing of it is on a second line
    assert all(len(line.rstrip()) <= width for line in lines)
    assert f"of {total:,}" in lines[-1]
    assert "left" in lines[-1]
    assert "……" not in lines[-1]
