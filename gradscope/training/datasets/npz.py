"""Arrays of one's own, from a file of numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gradscope.errors import TrainingError
from gradscope.training.options import DataOptions

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Two arrays of a file that numpy.savez wrote: rows, which may be vectors, sequences or images, and what is to be predicted
    of each: whole numbers are classes, counted from 0, other numbers are predicted as such.
    """

    name: Literal["npz"] = "npz"
    path: str
    """The file."""
    inputs: str = "x"
    """Name of the array of rows: (rows, features), (rows, steps, features) or (rows, channels, height, width)."""
    targets: str = "y"
    """Name of the array of classes (rows,) or (rows, answers), or of numbers (rows,) or (rows, outputs)."""
    standardise: Literal["each", "together", "nothing"] = "each"
    """Whether each feature is standardised by its own mean and deviation in the training rows, all by one, or none."""


def load(options: Options, seed: int) -> Data:
    """The arrays, split by ``seed``. Raises ``TrainingError`` where the file or what it holds cannot be used."""
    import zipfile
    from pathlib import Path

    import numpy as np

    from gradscope.errors import did_you_mean
    from gradscope.training.data import split, tensors

    path = Path(options.path).expanduser()
    if not path.is_file():
        raise TrainingError(f"the data set 'npz' needs {path}, and there is no such file", hint="set data.path")
    arrays = []
    try:
        with path.open("rb") as file:
            held = np.load(file, allow_pickle=False)
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise TrainingError(f"{path} is no .npz file", hint="write it with numpy.savez(file, x=..., y=...)")
            for name in (options.inputs, options.targets):
                if name not in held.files:
                    there = f"there are: {', '.join(held.files)}"
                    raise TrainingError(f"{path} has no array {name!r}{did_you_mean(name, held.files)}", hint=there)
                arrays.append(held[name])
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} cannot be read as arrays: {error}", hint="write it with numpy.savez") from error
    try:
        x, y = tensors(*arrays)
    except ValueError as error:
        raise TrainingError(f"{path}: {error}") from error
    return split(x, y, options, seed, standardise=options.standardise)
