"""What carries points out, wherever that is: on this machine's cores now, on a cluster's one day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from gradscope.plugins import Registry
from gradscope.sweep.outcome import Outcome
from gradscope.training.config import Config

EXECUTORS = Registry("gradscope.sweep.executors", noun="executor")
"""Each file: a class ``Executor`` that is one."""


@dataclass(frozen=True)
class Task:
    """One point to be carried out: its key, its config, and the run folder that it fills."""

    key: str
    config: Config
    folder: Path


class Executor(Protocol):
    """A context manager; what it started is ended when it is left, after an interrupt in a state that can be gone on with."""

    def submit(self, task: Task) -> None:
        """Take a task; it is carried out when there is room for it."""
        ...

    def results(self) -> Iterator[tuple[Task, Outcome]]:
        """The outcome of every task taken, as they come, until none is left; more may be submitted meanwhile."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
