"""Scope: recording, judging and storing put together; what ``watch`` returns."""

from gradscope.scope.scope import METRICS, Scope, Stop, watch

__all__ = ["METRICS", "Scope", "Stop", "watch"]
