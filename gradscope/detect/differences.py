"""In what runs were set up differently: config, environment, cadence, and, where there is no config, the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from gradscope.record.comparison import MISSING, Difference
from gradscope.record.manifest import Catalogue, Manifest, flattened

NAMES = frozenset({"name"})
"""Keys of a config that say what a run is called, not what it does."""
OUTCOMES = frozenset({"took"})
"""What of the recording was measured, and is never the same twice."""


def differences(manifests: Sequence[Manifest]) -> tuple[Difference, ...]:
    """Every key whose value is not the same in all runs, by section, each in the order of the first run that has it.

    Runs of ``gradscope run`` state all that made them in their config. Where one of them was watched and has none, the
    networks are compared as they were seen: modules, parameters and their shapes. Where all were, so are the optimizers.
    """
    sections: dict[str, list[dict[str, Any]]] = {
        "config": [{k: v for k, v in flattened(m.config or {}).items() if k not in NAMES} for m in manifests],
        "network": [{}] * len(manifests),
        "environment": [flattened(m.environment) for m in manifests],
        "recording": [{k: v for k, v in flattened(m.recording).items() if k not in OUTCOMES} for m in manifests],
    }
    if any(m.config is None for m in manifests):
        sections["config"] = [{}] * len(manifests)
        sections["network"] = [seen(m.catalogue) for m in manifests]
    if all(m.config is None for m in manifests):
        told = [flattened({"optimizer": m.optimizer} if m.optimizer else {}) for m in manifests]
        sections["network"] = [network | optimizer for network, optimizer in zip(sections["network"], told, strict=True)]
    return tuple(d for section, keyed in sections.items() for d in _differing(section, keyed))


def seen(catalogue: Catalogue) -> dict[str, Any]:
    """What tells one network from another: how many layers and numbers, modules by class, the shape of each parameter."""
    kinds = Counter(layer.kind for layer in catalogue.layers)
    return {
        "layers": sum(layer.trunk for layer in catalogue.layers),
        "parameters": parameter_count(catalogue),
        **{f"modules.{kind}": count for kind, count in kinds.items()},
        **{f"shape.{p.name}": list(p.shape) for p in catalogue.parameters},
        **{f"frozen.{p.name}": True for p in catalogue.parameters if not p.trainable},
    }


def parameter_count(catalogue: Catalogue) -> int:
    """Numbers in all parameters, trainable or not."""
    return sum(prod(p.shape) for p in catalogue.parameters)


def _differing(section: str, keyed: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    for path in dict.fromkeys(path for flat in keyed for path in flat):
        values = tuple(flat.get(path, MISSING) for flat in keyed)
        if any(type(v) is not type(values[0]) or v != values[0] for v in values[1:]):
            yield Difference(section, path, values)
