"""Scope: recording, judging and storing put together; what ``watch`` returns."""

from gradscope.scope.judging import Stop
from gradscope.scope.scope import METRICS, Scope, watch

__all__ = ["METRICS", "Scope", "Stop", "watch"]
