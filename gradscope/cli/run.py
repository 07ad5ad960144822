"""``gradscope run``: train a config under watch, judge it, say what to do next."""

from __future__ import annotations

import datetime
import secrets
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradscope.cli.check import Format
from gradscope.cli.folders import RUNS_DIR, RunsDir
from gradscope.cli.gate import FailOn, FailOnOption, gate, judged
from gradscope.cli.options import CONFIG, DeviceOption, Overrides, Set, changes
from gradscope.cli.terminal import INTERRUPTED, deliver, next_command, note, warn
from gradscope.errors import UsageError
from gradscope.numbers import number
from gradscope.render import FORMATS

if TYPE_CHECKING:
    from gradscope.record.run import Run
    from gradscope.render.live import LiveView
    from gradscope.training.build import Setup
    from gradscope.training.config import Config
    from gradscope.training.loop import Progress, Watcher


def run(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", help=CONFIG)] = None,
    overrides: Overrides = None,
    set_: Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="The run folder itself, new or empty; left out, a new one in the runs folder."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run from its last checkpoint; no config then."),
    ] = None,
    device: DeviceOption = None,
    stop_on: Annotated[
        list[str] | None,
        typer.Option(
            "--stop-on", metavar="RULE", help="End the run when this rule speaks, by name or code; as detect.stop_on."
        ),
    ] = None,
    fail_on: FailOnOption = FailOn.NEVER,
    format: Format = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while training.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Train the network of a config, record its gradients, and judge what was recorded.

    The config may be changed for this run: model.depth=50 after the file, or --set model.depth=50.
    """
    chosen = changes(overrides, set_, device)
    chosen += [f"detect.stop_on=[{', '.join(stop_on)}]"] if stop_on else []
    if resume is not None and (config is not None or chosen or out is not None):
        raise UsageError(
            "--resume goes on with a run as it was", hint="leave out the config, overrides, --device, --stop-on and --out"
        )
    if resume is None and config is None:
        raise UsageError("what to run is missing", hint="gradscope run CONFIG, or gradscope run --resume RUN")
    writer = FORMATS.load(format)
    loaded, folder, training = _going_on(resume) if config is None else _starting(config, chosen, out, runs_dir)

    from gradscope.record.manifest import Status
    from gradscope.render.live import LiveView
    from gradscope.render.terminal import Terminal

    if quiet:
        recorded = training()
    else:
        with LiveView(loaded.name, loaded.training.steps, sys.stderr) as view:
            recorded = training(on_setup=lambda setup: note(described(setup)), progress=shown_in(view), on_finding=view.found)
    report = judged(recorded)
    deliver(writer.write(report, recorded, terminal=Terminal.of(sys.stdout)), None)
    if not quiet:
        note(f"run folder: {folder}")
        if report.steps:
            next_command("plot", folder)
    if recorded.status is Status.STOPPED:
        by = (recorded.manifest.reason or "").partition(":")[0]
        note(f"stopped after {report.steps:,} of {loaded.training.steps:,} steps by {by}")
    if recorded.status is Status.INTERRUPTED:
        warn(f"interrupted after {report.steps:,} of {loaded.training.steps:,} steps; gradscope run --resume {folder}")
        raise typer.Exit(INTERRUPTED)
    gate(report, fail_on)


Training = Callable[..., "Run"]


def _starting(config: Path, chosen: list[str], out: Path | None, runs_dir: Path) -> tuple[Config, Path, Training]:
    """A config read, the new run folder, and the training of the one in the other."""
    from gradscope.training.config import load_config

    loaded = load_config(config, chosen)

    from gradscope.training.loop import train

    folder = out or runs_dir / folder_name(loaded.name)
    return loaded, folder, partial(train, loaded, folder, foretell=foretold)


def foretold(setup: Setup) -> dict[str, float]:
    """What theory expects of the gradient by layer, where it knows the net: the line that figures draw beside the record."""
    from gradscope.probe import probe

    return probe(setup.model, setup.first_batch(), setup.loss).predicted_ratios


def _going_on(path: Path | None) -> tuple[Config, Path, Training]:
    """The same for a run that was interrupted."""
    from gradscope.training.resume import config_of, resume

    assert path is not None
    return config_of(path), path, partial(resume, path)


def shown_in(view: LiveView) -> Watcher:
    """Shows each step that is due, with the gradient by layer as it was recorded since the last one shown."""
    from gradscope.signals.profiles import depth_profile

    def show(progress: Progress) -> None:
        if view.due(progress.step):
            fresh = depth_profile(progress.scope.fresh()).measured if view.shows_gradients else None
            view.update(progress.step, progress.loss, fresh)

    return show


def described(setup: Setup) -> str:
    """What will be trained, in a few lines: size, data, the batch of a pass and of a step, the weights' scale, device."""
    config = setup.config
    rows, times = config.data.batch_size, config.training.accumulate
    batch = f"{rows} rows a pass" + (f" x {times} = {rows * times} rows a step" if times > 1 else ", one pass a step")
    sigmas = setup.sigma_w().values()
    told = [
        f"{config.name}: {config.model.kind} with {setup.parameter_count:,} parameters on {setup.device}",
        f"{config.data.name}: {batch}, {config.training.steps:,} steps",
    ]
    if sigmas:  # a network of the user's own may have no linear or convolutional layer
        spread = number(min(sigmas)) if max(sigmas) - min(sigmas) < 5e-3 else f"{number(min(sigmas))} to {number(max(sigmas))}"
        told.append(f"weights: effective sigma_w {spread}")
    return "\n".join(told)


def folder_name(name: str) -> str:
    """``<name>-<time>-<hex>``: sorted by time within a name, and never twice the same."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return f"{name}-{now}-{secrets.token_hex(3)}"
