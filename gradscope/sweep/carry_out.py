"""One point carried out: its training, or the rest of it, then its verdict and numbers."""

from __future__ import annotations

import math
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

from gradscope.errors import GradscopeError
from gradscope.record.lock import is_being_written
from gradscope.sweep.judge import judged
from gradscope.sweep.outcome import End, Outcome
from gradscope.training.build import Setup
from gradscope.training.config import Config
from gradscope.training.loop import CHECKPOINTS, Progress, train
from gradscope.training.resume import resume

PATIENCE_SECONDS = 300.0
"""How long a point waits for the process of an earlier sweep, which was killed: it ends its step and saves where it stands."""


def carry_out(config: Config, folder: Path, *, first: bool = False) -> Outcome:
    """Train in the run folder ``folder`` and judge. What stands there of an interrupted try is gone on with from its last
    checkpoint, or, where it has none, made anew. ``first`` says that this process has trained nothing before.

    What a training cannot be carried out for is an outcome with its reason, not an error.
    """
    network: dict[str, float] = {}
    began = stepped = time.monotonic()

    def progress(seen: Progress) -> None:
        nonlocal stepped
        if first and stepped == began:
            stepped = time.monotonic()

    while is_being_written(folder):
        if time.monotonic() > began + PATIENCE_SECONDS:
            return Outcome(End.FAILED, f"another process is writing {folder}")
        time.sleep(0.05)
    try:
        if any((folder / CHECKPOINTS).glob("step-*.pt")):
            run = resume(folder, on_setup=lambda setup: network.update(_network(setup)), progress=progress)
        else:
            if folder.exists():
                shutil.rmtree(folder)
            run = train(config, folder, on_setup=lambda setup: network.update(_network(setup)), progress=progress)
    except GradscopeError as error:
        return Outcome(End.FAILED, str(error), network=network, seconds=time.monotonic() - began)
    except Exception as error:  # whatever a network does while it trains: the other points go on
        return Outcome(End.FAILED, f"{type(error).__name__}: {error}", network=network, seconds=time.monotonic() - began)
    return replace(judged(run, config, network), seconds=time.monotonic() - began, start_seconds=stepped - began)


def _network(setup: Setup) -> dict[str, float]:
    sigmas = [s for s in setup.sigma_w().values() if math.isfinite(s)]
    return {
        "parameters": setup.parameter_count,
        "sigma_w": statistics.median(sigmas) if sigmas else 0.0,
        "input_length": float(setup.data.train.x.double().square().mean()),
        "inputs": math.prod(setup.data.input_shape),
        "outputs": setup.data.outputs,
    }
