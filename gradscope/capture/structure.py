"""What a model consists of while it is watched: modules and parameters may be added, replaced and taken away."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook, register_module_parameter_registration_hook

from gradscope.capture.naming import is_inside, parameter_names, public_names, weight_makers


class Structure:
    """Registrations tell of themselves, and of some other model's: then it is looked whether this one has changed."""

    def __init__(self, root: nn.Module, compiled: str | None) -> None:
        self.root = root
        self.compiled = compiled
        self._handles: list[Any] = []
        self._places: tuple[list[dict[str, nn.Parameter | None]], list[str], list[nn.Parameter]] = [], [], []
        """Where each parameter was found: the module's own mapping, the key in it, and the parameter."""
        self._looks = 0
        self._for_parameters = self._for_modules = False
        """Whether something was registered since the last look."""

    def start(self) -> None:
        self._handles = [
            register_module_parameter_registration_hook(self._registered),
            register_module_module_registration_hook(self._registered),
        ]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def parameters(self) -> dict[nn.Parameter, str]:
        names = parameter_names(self.root)
        found = [(m._parameters, key, p) for m in self.root.modules() for key, p in m._parameters.items() if p in names]
        self._places = [held for held, _, _ in found], [key for _, key, _ in found], [p for _, _, p in found if p is not None]
        return names

    def modules(self) -> list[tuple[str, nn.Module]]:
        """All that could be layers, under their public names."""
        names, left_out = public_names(self.root), {self.root} | weight_makers(self.root)
        return [(names[m], m) for m in self.root.modules() if m not in left_out and not is_inside(names[m], self.compiled)]

    def has_others(self, parameters: Sequence[nn.Parameter], names: Sequence[str], *, surely: bool = False) -> bool:
        """Whether the model has other parameters than these now, or calls them otherwise.

        What was put in a parameter's place past the registrations shows at once; for what was added so, the whole model is
        looked at in looks 1, 2, 4 ... and every 64 too, and ``surely`` now.
        """
        looks = self._looks = self._looks + 1
        told = surely or self._for_parameters or self._replaced()
        if not told and looks & (looks - 1) and looks % 64:
            return False
        self._for_parameters = False
        now = self.parameters()
        return list(now.values()) != list(names) or any(p is not q for p, q in zip(now, parameters, strict=True))

    def _replaced(self) -> bool:
        held, keys, found = self._places
        return not all(map(is_, map(dict.get, held, keys), found))

    def changed_modules(self) -> list[tuple[str, nn.Module]] | None:
        """The modules, if some may be new; None as long as none was registered anywhere."""
        if not self._for_modules:
            return None
        self._for_modules = False
        return self.modules()

    def _registered(self, _module: nn.Module, _name: str, _what: object) -> None:
        self._for_parameters = self._for_modules = True
