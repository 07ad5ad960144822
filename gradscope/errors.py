"""Every error that Gradscope raises on purpose, each with a slug, an exit code and, where there is one, a hint."""

from __future__ import annotations

from collections.abc import Sequence


class GradscopeError(Exception):
    """What went wrong in one line; ``hint`` says what to do about it.

    ``slug`` names the kind of error for good; ``exit_code`` is what the command line ends with.
    """

    slug = "error"
    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(GradscopeError):
    """A command or a call was given something that it cannot take."""

    slug = "usage"


class ConfigError(GradscopeError):
    """A config has problems; ``problems`` holds all of them, each ``file:line:col: path: what``."""

    slug = "config"

    def __init__(self, problems: Sequence[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = tuple(problems)


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


class UnsupportedError(GradscopeError):
    """Something was asked for that cannot be watched; raised instead of recording a wrong number."""

    slug = "unsupported"
