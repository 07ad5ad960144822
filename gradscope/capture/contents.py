"""What a record is of: the layers and parameters that are known so far."""

from __future__ import annotations

from collections.abc import Sequence

from gradscope.capture.parameters import Parameters
from gradscope.record.manifest import Catalogue, LayerInfo, ParameterInfo, enclosing


class Contents:
    """Makes the catalogue, and keeps it until what it was made of changes."""

    def __init__(self) -> None:
        self._last: tuple[object, Catalogue] | None = None

    def catalogue(self, infos: Sequence[LayerInfo], parameters: Parameters) -> Catalogue:
        """Layers in forward order, parameters in that of their layers."""
        seen = (infos, parameters, [p.requires_grad for p in parameters.items])
        if self._last is None or seen != self._last[0]:
            layers = sorted(infos, key=lambda i: i.order)
            makers = {p: i.name for i in layers for p in i.parameters if p.startswith(f"{i.name}.parametrizations.")}
            order = {info.name: i for i, info in enumerate(layers)}
            described = [
                ParameterInfo(name, makers.get(name) or name.rpartition(".")[0], tuple(p.shape), p.requires_grad)
                for name, p in zip(parameters.names, parameters.items, strict=True)
            ]
            described.sort(key=lambda p: order.get(enclosing(p.layer, order) or "", len(order)))
            self._last = seen, Catalogue(tuple(layers), tuple(described))
        return self._last[1]
