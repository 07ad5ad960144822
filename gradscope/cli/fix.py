"""``gradscope fix``: remedies for a config, tried for real, and the one that cures written beside it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradscope.cli.folders import RUNS_DIR, RunsDir, find_run
from gradscope.cli.gate import FINDINGS
from gradscope.cli.options import ConfigFile, DeviceOption, Overrides, Set, Written, WrittenOption, changes
from gradscope.cli.run import folder_name, shown_in
from gradscope.cli.terminal import as_json, deliver, next_command, note
from gradscope.errors import UsageError

if TYPE_CHECKING:
    from gradscope.remedy.candidate import Candidate
    from gradscope.remedy.cure import Lookers
    from gradscope.remedy.trial import Trial
    from gradscope.training.config import Config
    from gradscope.training.loop import Progress


def fix(
    config: ConfigFile,
    overrides: Overrides = None,
    set_: Set = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="The config's own run, recorded already: it is not trained again."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Try every remedy, not only up to the first that cures; the least change is kept.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write; left out, CONFIG's .fixed.yaml.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Where the runs go, new or empty; left out, a new folder in the runs folder."
        ),
    ] = None,
    device: DeviceOption = None,
    format: WrittenOption = Written.TEXT,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say the result alone.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Cure the config of a sick training: propose remedies, train each for real, write the config that is cured.

    Remedies are tried in the order in which theory expects a cure of them, the least change first: for a quarter of the steps,
    and to the end where that goes well. The file keeps the text of the old one, with what changed marked. Exit code 1:
    nothing cures, and nothing is written.
    """
    from gradscope.record.store import require_free
    from gradscope.strict.yaml12 import read
    from gradscope.training.config import load_config

    chosen = changes(overrides, set_, device)
    loaded = load_config(config, chosen)
    target = output or config.with_name(f"{config.stem}.fixed.yaml")
    _must_be_writable(target, config)
    folder = out or runs_dir / folder_name(f"{loaded.name}-fix")
    require_free(folder)

    from gradscope.remedy import cure, plain, text
    from gradscope.remedy.candidate import given_as
    from gradscope.render.terminal import Terminal

    given = given_as(read(config), chosen, target)
    with ExitStack() as stack:
        lookers = _Progress(stack, loaded).lookers() if not quiet else cure.Lookers()
        sick = _recorded(find_run(run, runs_dir), loaded) if run is not None else _trained(loaded, given, folder, lookers)
        found = cure.fix(given, sick, folder, everything=everything, lookers=lookers)
    best = found.cure
    if best is not None:
        deliver(best.candidate.text, target)
    if format is Written.JSON:
        deliver(as_json(plain.as_dict(found, target if best is not None else None)), None)
    else:
        deliver(text.write(found, terminal=Terminal.of(sys.stdout)), None)
    if best is not None and best.trial is not None:
        note(f"written: {target}")
        if not quiet and sick.run.path is not None and best.trial.run.path is not None:
            next_command("plot", sick.run.path, best.trial.run.path)
    elif found.pathological:
        raise typer.Exit(FINDINGS)


class _Progress:
    """Shows each training as ``gradscope run`` does, with a line before it that says what is tried."""

    def __init__(self, stack: ExitStack, config: Config) -> None:
        self._stack, self._config = stack, config
        self._view: ExitStack | None = None
        self._show: object = None

    def lookers(self) -> Lookers:
        from gradscope.remedy.cure import Lookers

        self._stack.callback(self._close)
        return Lookers(begin=self._begin, progress=self._step)

    def _begin(self, what: str, candidate: Candidate) -> None:
        from gradscope.render.live import LiveView

        self._close()
        note(f"{what}: {candidate.name}: {candidate.assignments}" if candidate.changes else what)
        self._view = ExitStack()
        view = self._view.enter_context(LiveView(candidate.name, self._config.training.steps, sys.stderr))
        self._show = shown_in(view)

    def _step(self, progress: Progress) -> None:
        assert callable(self._show)
        self._show(progress)

    def _close(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None


def _trained(config: Config, given: Candidate, folder: Path, lookers: Lookers) -> Trial:
    from gradscope.remedy.trial import attempt

    if lookers.begin is not None:
        lookers.begin("training it as it is given", given)
    return attempt(config, folder / "given", on_setup=lookers.setup, progress=lookers.progress)


def _recorded(path: Path, config: Config) -> Trial:
    """The trial that a recorded run is. Raises ``UsageError`` where it is of another config."""
    from gradscope.record.reader import load_run
    from gradscope.remedy.trial import Trial, chance_of

    found = load_run(path)
    mine, its = config.model_dump(mode="json"), found.manifest.config or {}
    other = next((key for key in mine if key not in ("name", "device", "record") and mine[key] != its.get(key)), None)
    if other is not None:
        raise UsageError(f"{path}: not a run of this config: its {other} differs", hint="leave out --run to train it anew")
    if not found.step_count:
        raise UsageError(f"{path}: no step was recorded", hint="leave out --run to train it anew")
    return Trial(config, found, chance_of(config))


def _must_be_writable(target: Path, config: Path) -> None:
    """Told before minutes of training, not after them."""
    if target.resolve() == config.resolve():
        raise UsageError(f"{target}: this is the config itself", hint="-o FILE names another file")
    if not target.resolve().parent.is_dir():
        raise UsageError(f"{target}: there is no such folder")
