"""What became of a point: how it ended, the verdict, and every number of its run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from gradscope import __version__


class End(StrEnum):
    """How a point ended. All but the last are results, and are not tried again."""

    FINISHED = "finished"
    STOPPED = "stopped"
    """Ended early by ``stop_on``."""
    REFUSED = "refused"
    """Its values contradict each other."""
    FAILED = "failed"
    """The training could not be carried out: out of memory, data missing."""
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Outcome:
    """``numbers`` are those of ``signals.scalars``; a number that was not recorded is None, one that is NaN was measured.

    ``network`` is what the built network shows and no config says: ``parameters``, ``sigma_w`` (the layers' median),
    ``input_length`` (mean square of an input), ``inputs`` and ``outputs``. ``reason`` says why there is no verdict.
    """

    end: End
    reason: str | None = None
    verdict: str | None = None
    codes: tuple[str, ...] = ()
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    network: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    start_seconds: float = 0.0
    """Of ``seconds``, what the process did once: imports and all else until its first training's first step."""
    gradscope: str = __version__

    @property
    def trained(self) -> bool:
        """Whether there is a run to look at."""
        return self.end in (End.FINISHED, End.STOPPED)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN and no infinity: those are texts."""
        return {**asdict(self), "numbers": {name: _told(value) for name, value in self.numbers.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """Inverse of ``to_dict``. Raises ``TypeError``, ``KeyError`` or ``ValueError`` for what is none."""
        numbers = {name: None if value is None else float(value) for name, value in data["numbers"].items()}
        return cls(**{**data, "end": End(data["end"]), "codes": tuple(data["codes"]), "numbers": numbers})


def _told(value: float | None) -> float | str | None:
    return str(value) if value is not None and not math.isfinite(value) else value
