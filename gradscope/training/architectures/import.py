"""A network of one's own, from a factory ``module:name``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gradscope.training.options import ImportPath, Kwargs, ModelOptions, Shape

if TYPE_CHECKING:
    from torch import nn


class Options(ModelOptions):
    """A network of your own: what the factory returns, a torch.nn.Module, drawn from torch's random state. If it has parameters
    of these names it is given input_shape, the shape of one row, outputs, how many numbers to answer with, and answers, at
    how many last steps of a sequence. The module is looked for in the current folder first.
    """

    kind: Literal["import"] = "import"
    answers_often = True
    factory: ImportPath
    """A function or class, as module:name."""
    kwargs: Kwargs = Field(default={})
    """What it is called with besides."""


def build(options: Options, input_shape: Shape, outputs: int, answers: int = 1) -> nn.Module:
    """The network that the factory makes. Raises ``UserCodeError`` where it makes none."""
    from torch import nn

    from gradscope.errors import UserCodeError
    from gradscope.training.imports import made

    offered = {"input_shape": input_shape, "outputs": outputs, "answers": answers}
    model = made(options.factory, options.kwargs, offered)
    if not isinstance(model, nn.Module):
        raise UserCodeError(f"{options.factory} returns a {type(model).__name__} (expected a torch.nn.Module)")
    return model
