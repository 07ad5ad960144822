"""What stands between a hook of ours and a training of somebody else's: time is counted, and no error gets through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from time import perf_counter
from typing import Any, ParamSpec, Protocol, TypeVar

import torch
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling

P = ParamSpec("P")
R = TypeVar("R")
Hook = Callable[..., Any]
Guard = Callable[[Hook], Hook]


def in_normal_mode(method: Callable[P, R]) -> Callable[P, R]:
    """The same outside of inference mode, for what keeps tensors: an evaluation in that mode may end with ``scope.step``."""

    @wraps(method)
    def outside(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return method(*args, **kwargs)
        with torch.inference_mode(False):
            return method(*args, **kwargs)

    return outside


def unguarded(hook: Hook) -> Hook:
    """No guard: for reading a model outside a training, where an error should be seen."""
    return hook


def is_transformed() -> bool:
    """Whether what runs now is a transformation of the model (``torch.func``, forward-mode AD), not a step of its training."""
    return torch._C._functorch.maybe_current_level() is not None or forward_ad._current_level >= 0


class Watcher(Protocol):
    """Who is told of the seconds that hooks take, and of the error of one that failed."""

    spent: float

    def fail(self, error: Exception) -> None: ...


class Guarded:
    """A hook that gives back what the one inside does, or None where that fails or ``torch.compile`` traces it.

    A copy or a pickle of a model that is being watched carries no hook of ours: this turns into one that does nothing, made
    of the standard library alone.
    """

    __slots__ = ("hook", "watcher")

    def __init__(self, watcher: Watcher, hook: Hook) -> None:
        self.watcher = watcher
        self.hook = hook

    def __call__(self, *args: Any) -> Any:
        if is_dynamo_compiling():
            return None
        began = perf_counter()
        try:
            return self.hook(*args)
        except Exception as error:
            self.watcher.fail(error)
            return None
        finally:
            self.watcher.spent += perf_counter() - began

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")


class Unclocked(Guarded):
    """The same where nobody asks what hooks cost: looking at a clock takes as long as some of them."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        if is_dynamo_compiling():
            return None
        try:
            return self.hook(*args)
        except Exception as error:
            self.watcher.fail(error)
            return None
