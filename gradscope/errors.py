"""Every error that Gradscope raises on purpose, each with a slug, an exit code and perhaps a hint; and its warnings."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable, Sequence


class GradscopeError(Exception):
    """What went wrong in one line; ``hint`` says what to do about it.

    ``slug`` names the kind of error for good; ``exit_code`` is what the command line ends with.
    """

    slug = "error"
    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # stands in a traceback


class UsageError(GradscopeError):
    """A command or a call was given something that it cannot take."""

    slug = "usage"


class ConfigError(GradscopeError):
    """A config has problems; ``problems`` holds all of them, each ``file:line:col: path: what``."""

    slug = "config"

    def __init__(self, problems: Sequence[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = tuple(problems)


class PluginError(GradscopeError):
    """Another package registered something that cannot be loaded."""

    slug = "plugin"


class RunFolderError(GradscopeError):
    """A run folder is missing, is not one, is in use, or cannot be read or written."""

    slug = "run-folder"


class FormatVersionError(RunFolderError):
    """A run was recorded in a format that this version does not know."""

    slug = "format-version"


class TrainingError(GradscopeError):
    """The training could not be carried out: no such device, out of memory, data missing."""

    slug = "training"
    exit_code = 3


class UserCodeError(GradscopeError):
    """Code of the user's own that a config names is missing, fails, or gives what cannot be used."""

    slug = "user-code"


class UnsupportedError(GradscopeError):
    """Something was asked for that cannot be watched; raised instead of recording a wrong number."""

    slug = "unsupported"


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """``; did you mean 'relu'?`` where one of the choices is near, or one alone begins so, else nothing."""
    folded = str(word).casefold()
    # A slip seldom changes the first letter; in a short word, another first letter makes another word: gpu is not cpu.
    by_folded = {c.casefold(): c for c in choices if len(folded) > 4 or c.casefold()[:1] == folded[:1]}
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    begun = [c for c in by_folded if c.startswith(folded)] if len(folded) > 2 else []
    near = near or (begun if len(begun) == 1 else [])
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


INSIDE = ("gradscope", "torch")
"""Packages whose lines no warning points at: a hook of ours is called by torch's."""


def warn(message: str, category: type[GradscopeWarning]) -> None:
    """Warns at the line outside of this package and of torch that the call came from; here where there is none."""
    frame, level = sys._getframe(), 1
    while (above := frame.f_back) and str(frame.f_globals.get("__name__")).partition(".")[0] in INSIDE:
        frame, level = above, level + 1
    warnings.warn(message, category, stacklevel=level)


class GradscopeWarning(UserWarning):
    """Something that a person should know, though the work goes on."""


class RecordingWarning(GradscopeWarning):
    """Something of a training could not be seen, and is recorded as absent."""


class RecordLostWarning(GradscopeWarning):
    """Rows of a record could not be stored; the training went on."""
