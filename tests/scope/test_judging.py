"""When a running training is judged: seldom enough, within its share, and each finding once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, pairwise
from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from gradscope.capture.distributed import Processes
from gradscope.detect.rules import non_finite
from gradscope.errors import RecordingWarning, UsageError
from gradscope.record.finding import Finding, Report, Severity
from gradscope.record.manifest import Status
from gradscope.scope.judging import Judging, Stop

ALONE = Processes(nn.Linear(1, 1), [])
BAD = Finding("GS103", "non-finite", Severity.ERROR, "The loss is NaN.", "loss", float("nan"), 1.0)


class Clock:
    """Time that a test makes."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_steps_between_two_judgements_grow_by_an_eighth() -> None:
    judged: list[int] = []
    judging = Judging(lambda: Report("run", 1), on_finding=print)
    for taken in range(1, 10_001):
        before = judging.spent
        judging.after(taken, ALONE)
        if judging.spent != before:
            judged.append(taken)
    assert judged[:20] == [*range(1, 17), 18, 20, 22, 24]
    assert all(b - a == max(1, a // 8) for a, b in pairwise(judged))
    assert sum(judged) <= 9.2 * 10_000  # what all of them cost where one costs as its steps do


def test_judging_takes_its_share_of_the_time_and_its_allowance() -> None:
    """Simulated: steps of 10 ms, judgements of 5 ms and 0.1 ms a step more."""
    clock, taken = Clock(), 0

    def judge() -> Report:
        clock.now += 0.005 + 1e-4 * taken
        return Report("run", taken)

    judging = Judging(judge, on_finding=print, share=0.02, clock=clock)
    for taken in range(1, 10_001):
        clock.now += 0.01
        judging.after(taken, ALONE)
    training = 0.01 * 10_000
    assert judging.spent <= Judging.ALLOWANCE + 0.02 * training
    assert judging.spent > 0.5 * (Judging.ALLOWANCE + 0.02 * training)


MILD = Finding("GS302", "loss-spike", Severity.INFO, "A spike.", "loss", 9.0, 6.0)
WORSE = Finding("GS302", "loss-spike", Severity.WARNING, "A spike.", "loss", 9.0, 6.0)


def heard(said: Callable[[int], tuple[Finding, ...]], steps: int = 1000, **options: Any) -> list[tuple[int, Finding]]:
    """After how many steps each finding is told, of a run in which ``said`` is what a judgement finds."""
    now, told = 0, []
    judging = Judging(lambda: Report("run", 1, said(now)), on_finding=lambda f: told.append((now, f)), **options)
    for now in range(1, steps + 1):
        judging.after(now, ALONE)
    return told


@pytest.mark.parametrize(("planned", "chance"), [(40, 32), (200, 50), (600, 150), (10**6, 256), (None, 256)])
def test_a_run_has_its_chance_before_a_finding_counts(planned: int | None, chance: int) -> None:
    ((at, finding),) = heard(lambda _: (WORSE,), planned=planned)
    assert finding is WORSE
    assert chance <= at <= 1.125 * chance + 1


def test_what_nothing_takes_back_counts_at_once() -> None:
    assert heard(lambda now: (BAD,) if now > 2 else ()) == [(3, BAD)]


def test_a_finding_counts_when_it_stood_over_the_last_fifth_of_the_run() -> None:
    at, _ = heard(lambda now: (WORSE,) if now >= 400 else ())[0]
    assert 500 <= at <= 1.125 * 500
    every_second = cycle([(WORSE,), ()])
    assert not heard(lambda _: next(every_second))


def test_a_finding_is_told_once_and_again_when_it_is_worse() -> None:
    (_, first), (at, second) = heard(lambda now: (WORSE, MILD) if now >= 600 else (MILD,))
    assert (first, second) == (MILD, WORSE)
    assert at >= 750


def test_a_warm_up_is_no_part_of_the_chance() -> None:
    now = 0

    def judge() -> Report:
        return Report("run", 1, (WORSE,))

    told: list[int] = []
    judging = Judging(judge, lambda _: told.append(now), planned=200, warming_up=lambda: now <= 100)
    for now in range(1, 1001):
        judging.after(now, ALONE)
    assert 150 <= told[0] <= 175


@pytest.mark.parametrize("name", ["non-finite", "GS103"])
def test_a_named_rule_stops_and_another_does_not(name: str) -> None:
    def judging(*names: str) -> Judging:
        return Judging(lambda: Report("run", 1, (BAD,)), stop_on=names)

    with pytest.raises(Stop, match=r"^GS103 non-finite: The loss is NaN.$"):
        judging(name).after(1, ALONE)
    judging("loss-spike").after(1, ALONE)


def test_what_is_information_ends_no_run() -> None:
    known = Finding("GS103", "non-finite", Severity.INFO, "Told before.", "loss", 1.0, 1.0)
    Judging(lambda: Report("run", 1, (known,)), stop_on=["non-finite"]).after(1, ALONE)


def train(steps: int = 60, lr: float = 1e6, **options: Any) -> tuple[int, gradscope.Scope]:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    taken = 0
    with gradscope.watch(model, optimizer, **options) as scope:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model(torch.ones(8, 4)).square().mean()
            loss.backward()
            optimizer.step()
            taken += 1
            scope.step(loss)
    return taken, scope


def test_a_finding_is_told_once_and_can_end_the_training() -> None:
    told: list[Finding] = []
    taken, _ = train(on_finding=told.append)
    assert taken == 60
    assert [f.code for f in told].count("GS103") == 1
    taken, scope = train(stop_on="non-finite")
    assert taken < 60
    assert scope.run.status is Status.STOPPED
    assert "GS103" in (scope.run.manifest.reason or "")


def test_whoever_listens_hears_of_every_finding_of_the_verdict() -> None:
    for steps in (3, 7, 19, 60):
        told: list[Finding] = []
        _, scope = train(steps, on_finding=told.append)
        assert {(f.code, f.layers, f.severity) for f in scope.check().findings} <= {
            (f.code, f.layers, f.severity) for f in told
        }


def test_a_run_of_a_fixed_cadence_stops_at_the_same_step_each_time() -> None:
    assert train(stop_on="non-finite", every=1)[0] == train(stop_on="non-finite", every=1)[0] < 60


def test_a_rule_that_does_not_exist_cannot_be_waited_for() -> None:
    with pytest.raises(UsageError, match="did you mean 'non-finite'"):
        gradscope.watch(nn.Linear(2, 2), stop_on="nonfinite")


def test_a_rule_that_fails_ends_the_judging_and_not_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Any) -> Any:
        raise ZeroDivisionError("a rule of ours")

    monkeypatch.setattr(non_finite, "check", broken)
    with pytest.warns(RecordingWarning, match="judged no more while it goes on: ZeroDivisionError: a rule of ours"):
        taken, scope = train(20, on_finding=print)
    assert taken == 20
    assert scope.run.step_count == 20


def test_an_error_of_the_listener_is_theirs_and_the_record_is_closed() -> None:
    def listen(finding: Finding) -> None:
        raise LookupError("no such channel")

    with pytest.raises(LookupError, match="no such channel"):
        train(on_finding=listen)
