"""Data of one's own, from a factory ``module:name``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gradscope.training.options import DataOptions, ImportPath, Kwargs

if TYPE_CHECKING:
    from gradscope.training.data import Data


class Options(DataOptions):
    """Data of your own: what the factory returns, rows and targets, or a pair of such pairs: to train on, and to validate on.
    They are arrays or tensors as in an npz file, and taken as they are. If the factory has a parameter seed it is given the
    config's. The module is looked for in the current folder first.
    """

    name: Literal["import"] = "import"
    factory: ImportPath
    """A function, as module:name."""
    kwargs: Kwargs = Field(default={})
    """What it is called with besides."""


def load(options: Options, seed: int) -> Data:
    """What the factory gives, split by ``seed`` where it is not. Raises ``UserCodeError`` where that is no data."""
    from gradscope.errors import ConfigError, UserCodeError
    from gradscope.training.data import Data, Split, split, tensors
    from gradscope.training.imports import made

    def pair(given: Any) -> tuple[Any, Any]:
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise UserCodeError(f"{options.factory} returns no pair of rows and targets (got {type(given).__name__})")
        return given[0], given[1]

    first, second = pair(made(options.factory, options.kwargs, {"seed": seed}))
    try:
        if not isinstance(first, tuple | list):
            return split(*tensors(first, second), options, seed, standardise="nothing")
        train, validation = (Split(*tensors(*pair(part))) for part in (first, second))
    except ValueError as error:
        raise UserCodeError(f"{options.factory}: {error}") from error
    if options.batch_size > len(train):
        rows = f"expected at most {len(train)} rows"
        raise ConfigError([f"data.batch_size: larger than the training data (got {options.batch_size}; {rows})"])
    shapes = [(part.x.shape[1:], part.y.shape[1:], part.y.dtype) for part in (train, validation)]
    if shapes[0] != shapes[1]:
        raise UserCodeError(f"{options.factory}: the rows to validate on have another form than those to train on")
    numbers = train.y.is_floating_point()
    outputs = train.y.shape[1] if numbers else 1 + max(int(part.y.max()) for part in (train, validation))
    return Data(train, validation, outputs)
