"""Points on this machine: a few processes that share its cores, each of which carries out one point after another."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from gradscope.sweep.executor import Task
from gradscope.sweep.outcome import End, Outcome

PATIENCE_SECONDS = 30.0
"""How long a process may take after an interrupt to end its step and to save where it stands."""
WORKER = "from gradscope.sweep.worker import main; main()"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")
ACCELERATORS = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""Files of the drivers of NVIDIA, of AMD, and of either under Windows' Linux."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_jobs(devices: set[str]) -> int:
    """As many processes as there are cores; one where these devices of configs come to an accelerator: they would share it."""
    wanted = devices - {"cpu"}
    there = sys.platform == "darwin" or (
        os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1") and any(Path(file).exists() for file in ACCELERATORS)
    )
    return 1 if wanted and there else cores()


def threads(jobs: int) -> int:
    """Each process's share of the cores, or what ``OMP_NUM_THREADS`` allows where that is less."""
    share, allowed = max(cores() // jobs, 1), os.environ.get(THREADS[0], "")
    return min(share, max(int(allowed), 1)) if allowed.isdecimal() else share


class Executor:
    """``jobs`` processes, started when there is something to do."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.threads = threads(jobs)
        self._waiting: deque[Task] = deque()
        self._said: queue.Queue[tuple[_Worker, str]] = queue.Queue()
        self._workers: list[_Worker] = []

    def submit(self, task: Task) -> None:
        self._waiting.append(task)
        self._hand_out()

    def results(self) -> Iterator[tuple[Task, Outcome]]:
        while self._waiting or any(worker.task for worker in self._workers):
            worker, line = self._said.get()
            task, worker.task = worker.task, None
            if not line:
                self._workers.remove(worker)
            self._hand_out()
            if task is not None:
                yield task, Outcome.from_dict(json.loads(line)) if line else worker.death()

    def _hand_out(self) -> None:
        while self._waiting:
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None and len(self._workers) < self.jobs:
                idle = _Worker(self.threads, self._said)
                self._workers.append(idle)
            if idle is None:
                return
            idle.start(self._waiting.popleft())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._waiting.clear()
        try:
            for worker in self._workers:
                worker.stop()
            for worker in self._workers:
                worker.wait(PATIENCE_SECONDS)
        finally:
            for worker in self._workers:
                worker.kill()


class _Worker:
    """A process that reads tasks and writes outcomes, a line each. What else it prints goes into a file that is thrown away."""

    def __init__(self, threads: int, said: queue.Queue[tuple[_Worker, str]]) -> None:
        self.task: Task | None = None
        self._noise: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by kill
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path, **dict.fromkeys(THREADS, str(threads))},
            process_group=0,  # a Ctrl-C of the terminal reaches the sweep alone, which then tells each process once
        )
        threading.Thread(target=self._listen, args=(said,), daemon=True).start()

    def start(self, task: Task) -> None:
        self.task = task
        message = {"config": task.config.model_dump(mode="json"), "folder": str(task.folder.resolve())}
        with contextlib.suppress(BrokenPipeError):  # it is dead, which its listener says
            self._input.write(json.dumps(message) + "\n")
            self._input.flush()

    def death(self) -> Outcome:
        """What to say of the point that the process died at."""
        code = self._child.wait()
        if code == -signal.SIGKILL:
            return Outcome(End.FAILED, "its process was killed, most likely for lack of memory")
        self._noise.seek(0)
        last = self._noise.read().strip().rpartition("\n")[2]
        return Outcome(End.FAILED, f"its process ended with {code}{': ' if last else ''}{last}")

    def stop(self) -> None:
        """Ask for an end: at once where it has no task, else after the step that it is in.

        The end of its input is what interrupts it; a signal besides would be a second Ctrl-C, which waits for no step.
        """
        with contextlib.suppress(OSError):
            self._input.close()

    def wait(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()
        self._noise.close()

    @property
    def _input(self) -> IO[str]:
        assert self._child.stdin is not None
        return self._child.stdin

    def _listen(self, said: queue.Queue[tuple[_Worker, str]]) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                said.put((self, line))
        said.put((self, ""))
