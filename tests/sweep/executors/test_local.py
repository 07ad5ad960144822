from __future__ import annotations

import pytest

from gradscope.sweep.executors.local import cores, threads


@pytest.mark.parametrize(
    ("allowed", "jobs", "expected"),
    [(None, 1, cores()), ("", 1, cores()), ("1", 1, 1), ("999", 1, cores()), ("2,1", 1, cores()), ("1", 10_000, 1)],
)
def test_a_process_has_its_share_of_the_cores_but_no_more_threads_than_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, allowed: str | None, jobs: int, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert threads(jobs) == expected
