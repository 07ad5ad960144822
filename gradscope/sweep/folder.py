"""A sweep's folder: the run folder of each point and beside it what became of it, under the key of its config."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradscope.errors import GradscopeError, RunFolderError
from gradscope.record.files import write_whole
from gradscope.record.lock import LOCK, WriterLock
from gradscope.sweep.layout import POINTS, SWEEP
from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.plan import Plan, Point


class SweepFolder:
    """The folder ``path``, made where it does not exist; its only writer until ``close``.

    Raises ``RunFolderError`` where it holds something else, another process works on it, or it cannot be written.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        try:
            (path / POINTS).mkdir(parents=True, exist_ok=True)
            others = [p.name for p in path.iterdir() if p.name not in (LOCK, POINTS)]
            if others and SWEEP not in others:
                (path / POINTS).rmdir()
                raise RunFolderError(f"{path}: the folder exists and holds no sweep", hint="name another one with --out")
            self._lock = _locked(path)
            write_whole(path / SWEEP, lambda draft: draft.write_text(plan.source, "utf-8"))
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        self._lock.release()

    def run_folder(self, point: Point) -> Path:
        return self.path / POINTS / point.key

    def known(self, point: Point) -> Outcome | None:
        """What became of a point before; None where it is yet to be carried out, or was recorded by another version."""
        try:
            data = json.loads(self._file(point).read_text("utf-8"))
            outcome = Outcome.from_dict(data["outcome"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if outcome.trained and (fresh := self._judged_anew(point, outcome)) is not None:
            self.keep(point, fresh)
            return fresh
        return outcome

    def keep(self, point: Point, outcome: Outcome) -> None:
        """Put what became of a point on file; one that was interrupted leaves none, and is carried out anew."""
        if outcome.end is End.INTERRUPTED:
            return
        config: Any = point.config.model_dump(mode="json") if point.config else None
        text = json.dumps({"at": dict(point.at), "config": config, "outcome": outcome.to_dict()}, indent=1, allow_nan=False)
        write_whole(self._file(point), lambda draft: draft.write_text(text + "\n", "utf-8"))

    def _file(self, point: Point) -> Path:
        return self.path / POINTS / f"{point.key}.json"

    def _judged_anew(self, point: Point, outcome: Outcome) -> Outcome | None:
        """A finished run that another version has judged, judged by this one; None where this one has, or cannot."""
        from gradscope import __version__
        from gradscope.record.reader import load_run
        from gradscope.signals.scalars import scalars

        if outcome.gradscope == __version__ and set(outcome.numbers) == set(scalars()):
            return None
        try:
            run = load_run(self.run_folder(point))
            from gradscope.sweep.judge import judged

            assert point.config is not None
            anew = judged(run, point.config, dict(outcome.network))
            return replace(anew, seconds=outcome.seconds, start_seconds=outcome.start_seconds)
        except GradscopeError:
            return None


def _locked(path: Path) -> WriterLock:
    try:
        return WriterLock(path)
    except RunFolderError as error:
        raise RunFolderError(f"{path}: another sweep is working on this folder", hint=error.hint) from None
