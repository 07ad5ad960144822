"""The manifest of a run: what it is, where it ran, how it ended, and the catalogue of what was watched."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeVar

from gradscope.record.schema import FORMAT_VERSION

_Info = TypeVar("_Info", "LayerInfo", "ParameterInfo")


class Status(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    """Ended early by ``stop_on``; the finding that did it is the reason."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter, named as in ``named_parameters()``; ``layer`` is the module that owns it."""

    name: str
    layer: str
    shape: tuple[int, ...]
    trainable: bool = True

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) >= 2


@dataclass(frozen=True)
class LayerInfo:
    """One station: a place whose output and back-propagated gradient are recorded, in forward order.

    ``kind`` is the module's class, or ``stream`` for the input of a module that is no module's output. ``trunk`` marks the
    stations that every path from input to loss passes (the dominators of the output that hold a matrix): profiles over depth
    are drawn along them. ``width`` is the number of units (features or channels), ``activation`` how an activation's slope
    behaves: ``one-sided`` (flat for negative inputs: a unit can die), ``two-sided`` (flat at both ends: it can saturate),
    ``other``, or null for what is no activation. A layer whose output goes into an activation called as a function has that
    one's, and ``function`` names it by the class of the same module. ``block`` is the enclosing member of a ``Sequential`` or
    ``ModuleList``. ``dtype`` is the number format of the output and of its gradient. ``readers`` is how many operations take
    the output, null where that is not known, and ``adds`` the stations whose output, as it is, is a part of the sum that this
    one's output is or that its operation takes. ``source`` is the station that the input comes from, null where it is not one
    alone or more than operations without parameters stands between; ``through`` names these in order: ``mean``, ``pooling``,
    ``product`` with a constant (a dropout is one), ``activation``.
    """

    name: str
    kind: str
    order: int
    parameters: tuple[str, ...] = ()
    trunk: bool = False
    width: int | None = None
    activation: str | None = None
    recurrent: bool = False
    block: str | None = None
    dtype: str | None = None
    function: str | None = None
    readers: int | None = None
    adds: tuple[str, ...] = ()
    ends_in: str | None = None
    source: str | None = None
    through: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """All stations and parameters, both in forward order."""

    layers: tuple[LayerInfo, ...] = ()
    parameters: tuple[ParameterInfo, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """``created`` and ``finished`` are ISO 8601 in UTC. ``notes`` say once what could not be seen, and why.

    ``optimizer`` is how what takes the steps was set when the recording began, where there is no config that tells it.
    ``theory`` is what mean-field theory predicted before the first step, where it had a word on the net: by layer, the norm of
    the gradient at its output over that at the last station's. ``shared_loss`` says that the loss depends on trainable
    parameters that neither the model nor the optimizers hold: another training may move it, as in an adversarial one.
    """

    name: str
    status: Status = Status.RUNNING
    reason: str | None = None
    created: str = ""
    finished: str | None = None
    gradscope: str = ""
    format: int = FORMAT_VERSION
    environment: dict[str, str] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    theory: dict[str, float] = field(default_factory=dict)
    recording: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shared_loss: bool = False
    catalogue: Catalogue = Catalogue()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Manifest:
        """Inverse of ``to_dict`` after a trip through JSON. Unknown keys are ignored: a minor addition stays readable."""
        known = {k: v for k, v in data.items() if k in {f.name for f in fields(cls)}}
        catalogue = known.get("catalogue", {})
        known["catalogue"] = Catalogue(
            tuple(_rebuild(LayerInfo, d) for d in catalogue.get("layers", ())),
            tuple(_rebuild(ParameterInfo, d) for d in catalogue.get("parameters", ())),
        )
        known["status"] = Status(known["status"])
        known["notes"] = tuple(known.get("notes", ()))
        return cls(**known)


def _rebuild(kind: type[_Info], data: dict[str, Any]) -> _Info:
    names = {f.name for f in fields(kind)}
    known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in names}
    return kind(**known)


def enclosing(layer: str, stations: Container[str]) -> str | None:
    """The station of that name, or the nearest one around it: the weights of a module that another one reads without calling
    it, as ``nn.MultiheadAttention`` does its ``out_proj``, are at work where that one is.
    """
    while layer and layer not in stations:
        layer = layer.rpartition(".")[0]
    return layer if layer in stations else None


def flattened(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A mapping of mappings as one, its keys joined by dots; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
