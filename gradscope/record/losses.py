"""What of a record could not be stored: counted, told once, stated in the manifest."""

from __future__ import annotations

from dataclasses import replace

from gradscope.errors import RecordLostWarning, warn
from gradscope.record.manifest import Manifest


class Losses:
    """``rows`` are those lost so far, ``reason`` why the first of them were."""

    def __init__(self, where: str, manifest: Manifest) -> None:
        self.where = where
        self.rows = int(manifest.recording.get("lost_rows", 0))
        self.reason: str | None = manifest.recording.get("lost_reason")
        self._told = False

    def add(self, rows: int, error: Exception) -> None:
        """Count rows; warn at the first of them."""
        self.rows += rows
        reason = getattr(error, "strerror", None) or str(error)
        self.reason = self.reason or reason
        if not self._told:
            self._told = True
            message = f"{self.where}: the record cannot be stored ({reason}); the training goes on, what is lost is counted"
            warn(message, RecordLostWarning)

    def stated(self, manifest: Manifest) -> Manifest:
        """The manifest with ``recording.lost_rows`` and ``recording.lost_reason``, where anything was lost."""
        if not self.rows:
            return manifest
        return replace(manifest, recording={**manifest.recording, "lost_rows": self.rows, "lost_reason": self.reason})
