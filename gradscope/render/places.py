"""Where the layers of a finding stand along an axis of layers."""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.record.finding import Finding
from gradscope.record.run import Run


def positions(finding: Finding, run: Run, layers: Sequence[str]) -> list[int]:
    """Where a finding's layers stand among ``layers``: by name, a parameter at its layer, others at the station before."""
    place = {name: i for i, name in enumerate(layers)}
    station: dict[str, int] = {}
    at = 0
    for layer in run.catalogue.layers:
        at = place.get(layer.name, at)
        station[layer.name] = at
    for parameter in run.catalogue.parameters:
        station.setdefault(parameter.name, station.get(parameter.layer, place.get(parameter.layer, -1)))
    found = (place.get(name, station.get(name, -1)) for name in finding.layers) if place else ()
    return sorted({i for i in found if i >= 0})
