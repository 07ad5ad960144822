"""The command line: one file per command, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import errno
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gradscope import __version__
from gradscope.cli.check import check
from gradscope.cli.compare import compare
from gradscope.cli.fix import fix
from gradscope.cli.info import info
from gradscope.cli.new import new
from gradscope.cli.plot import plot
from gradscope.cli.probe import probe
from gradscope.cli.report import report
from gradscope.cli.rules import rules
from gradscope.cli.run import run
from gradscope.cli.runs import runs
from gradscope.cli.schema import schema
from gradscope.cli.sweep import sweep
from gradscope.cli.terminal import INTERRUPTED, complain, warn
from gradscope.errors import GradscopeError, GradscopeWarning

MACHINE_ERRORS = {errno.EACCES, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENOSPC, errno.EPERM, errno.EROFS}
"""What a disk or its rights may say at any moment, wherever a file is touched: no fault of the program."""
BUG = 70
"""Exit code of an error that nobody foresaw (EX_SOFTWARE of sysexits.h); 1 would look like a finding."""


class Commands(TyperGroup):
    """Turns an error that Gradscope raises on purpose into its message and its exit code, for every command."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except GradscopeError as error:
            complain(error)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.errno not in MACHINE_ERRORS:
                raise
            complain(GradscopeError(f"{error.filename or 'stdout'}: {error.strerror}"))
            raise typer.Exit(GradscopeError.exit_code) from None
        except KeyboardInterrupt:
            warn("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


app = typer.Typer(
    name="gradscope",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, plot, check, compare, report, probe, fix, sweep, rules, schema, info, runs, new):
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        print(f"gradscope {__version__}")
        raise typer.Exit


@app.callback()
def gradscope(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An oscilloscope for gradients: what is wrong with a network that trains badly, why, and what to do.

    Exit codes: 0 done; 1 findings at or above --fail-on; 2 usage, config or file error; 3 the training could not be
    carried out; 130 interrupted.
    """
    _warn_of_namesake()


def main() -> None:
    """Entry point of the command. Does not return."""
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    try:
        app()
    except Exception:
        traceback.print_exc()
        warn("this is a bug in gradscope, not in your input; please report it with the lines above and `gradscope info`")
        sys.exit(BUG)


def _show_warning(otherwise: Callable[..., None], message: Warning, category: type[Warning], *where: Any) -> None:
    """A warning of ours without the line of code at which it arose: it is about what was typed."""
    if issubclass(category, GradscopeWarning):
        warn(str(message))
    else:
        otherwise(message, category, *where)


def _warn_of_namesake() -> None:
    """Another distribution is called ``gradscope``, which is this one's import name, and installs a command of that name."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        other = version("gradscope")
    except PackageNotFoundError:
        return
    warn(
        f"another package, 'gradscope' {other}, is installed beside gradscope-torch; both install the command gradscope",
        hint="pip uninstall gradscope, then pip install --force-reinstall --no-deps gradscope-torch",
    )
