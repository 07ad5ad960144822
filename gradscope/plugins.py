"""A folder of files is a registry: one file, one name. Other packages add names through entry points."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gradscope.errors import PluginError, UsageError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Registry(Mapping[str, Any]):
    """The modules of a package by name, and what other packages add under the entry-point group of the same name.

    ``dead_units.py`` is ``dead-units``. Names are listed without importing anything; a module is imported when it is asked
    for, and other packages are looked up only when no file here has the name. A file here wins over an entry point.
    An entry point names a module (or any object) that has what the files here have.

    ``Registry("gradscope.detect.rules", noun="rule")`` has the entry-point group ``gradscope.rules``.
    """

    def __init__(self, package: str, *, noun: str) -> None:
        self.package = package
        self.noun = noun
        self.group = f"gradscope.{package.rpartition('.')[2]}"

    @cached_property
    def built_in(self) -> Mapping[str, str]:
        """Name -> module, of the files here, by name."""
        spec = importlib.util.find_spec(self.package)
        paths = list(spec.submodule_search_locations or ()) if spec else []
        modules = sorted(m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_"))
        return {m.replace("_", "-"): f"{self.package}.{m}" for m in modules}

    @cached_property
    def added(self) -> Mapping[str, EntryPoint]:
        """Name -> entry point, of other packages."""
        from importlib.metadata import entry_points

        return {e.name: e for e in sorted(entry_points(group=self.group)) if e.name not in self.built_in}

    def __getitem__(self, name: str) -> ModuleType | Any:
        """Raises ``KeyError`` for a name that nobody gives, ``PluginError`` where another package's cannot be loaded."""
        if name in self.built_in:
            return importlib.import_module(self.built_in[name])
        entry = self.added[name]
        try:
            return entry.load()
        except Exception as error:  # whatever a stranger's module does while it is imported
            owner = entry.dist.name if entry.dist else entry.value
            raise PluginError(
                f"the {self.noun} {name!r} of {owner} cannot be loaded: {type(error).__name__}: {error}",
                hint=f"update or uninstall {owner}, which registers it under {self.group}",
            ) from error

    def load(self, name: str) -> ModuleType | Any:
        """As ``registry[name]``, but an unknown name is a ``UsageError`` that says which there are."""
        if name not in self:
            raise UsageError(
                f"no {self.noun} is called {name!r}{did_you_mean(name, self)}",
                hint=f"there are: {', '.join(self)}",
            )
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self.added

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.built_in, *self.added}))

    def __len__(self) -> int:
        return len(self.built_in) + len(self.added)
