"""Scope: recording, judging and storing put together; what ``watch`` returns."""
