"""What a process of the local executor runs: a task a line on stdin, its outcome a line on stdout, until stdin ends."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import warnings
from pathlib import Path


def main() -> None:
    """Where stdin ends while a task is worked on, the sweep is gone: the task is interrupted, and can be gone on with."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a network or its data print is no outcome
    warnings.simplefilter("ignore")  # each run keeps its own notes
    lines: queue.Queue[str] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(lines, busy), daemon=True).start()
    try:
        import torch

        from gradscope.sweep.carry_out import carry_out
        from gradscope.training.config import Config

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        first = True
        while line := lines.get():
            task = json.loads(line)
            outcome = carry_out(Config.model_validate(task["config"]), Path(task["folder"]), first=first)
            first = False
            busy.clear()
            answers.write(json.dumps(outcome.to_dict()) + "\n")
            answers.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def _listen(lines: queue.Queue[str], busy: threading.Event) -> None:
    for line in sys.stdin:
        busy.set()
        lines.put(line)
    lines.put("")
    if busy.is_set():
        signal.raise_signal(signal.SIGINT)
