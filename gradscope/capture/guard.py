"""What stands between a hook of ours and a training of somebody else's: time is counted, and no error gets through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]
Guard = Callable[[Hook], Hook]


def unguarded(hook: Hook) -> Hook:
    """No guard: for reading a model outside a training, where an error should be seen."""
    return hook
