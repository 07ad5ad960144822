"""The names that a user knows, as in ``named_modules()`` of the model without its wrappers, and what they are a part of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Attributes under which a wrapper holds what it wraps: torch.compile, FSDP1, activation checkpointing."""


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own module inside DDP, ``torch.compile`` and the like."""
    while True:
        inner: Any = None
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = model.module
        else:
            inner = next((model._modules[w] for w in WRAPPERS if w in model._modules), None)
        if inner is None:
            return model
        model = inner


def public_names(root: nn.Module) -> dict[nn.Module, str]:
    """Each module's name, wrappers left out; a module that stands twice has its first name."""
    return {m: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name, m in root.named_modules()}


def parameter_names(root: nn.Module) -> dict[nn.Parameter, str]:
    """Each parameter's name, wrappers left out; one that is tied has its first.

    None that is no float or has no values yet: what stands on ``meta`` beside others that do not is still to be loaded.
    """
    names = public_names(root)
    result: dict[nn.Parameter, str] = {}
    for module in root.modules():
        for key, p in module._parameters.items():
            if p is None or isinstance(p, nn.UninitializedParameter) or not (p.is_floating_point() or p.is_complex()):
                continue
            result.setdefault(p, f"{names[module]}.{key}" if names[module] else key)
    made = {p: name for p, name in result.items() if not p.is_meta}
    return made or result


def own_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that a module itself holds; those that a parametrization makes its weights of are its own.

    None that is yet to be made.
    """
    own = [p for p in module._parameters.values() if p is not None and not isinstance(p, nn.UninitializedParameter)]
    makers = module._modules.get("parametrizations")
    if makers is not None and is_parametrized(module):
        own += makers.parameters()
    return own


def weight_makers(root: nn.Module) -> set[nn.Module]:
    """The modules that make weights, of parametrizations: what they give is a weight, and no signal."""
    return {m for made in root.modules() if isinstance(made, ParametrizationList) for m in made.modules()}


def compiled_under(model: nn.Module) -> str | None:
    """The first module that ``torch.compile`` took over: ``the model`` for the whole, its name for a part, or None."""
    for name, module in model.named_modules():
        if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None:
            public = ".".join(p for p in name.split(".") if p not in (*WRAPPERS, "module"))
            return public or "the model"
    return None


def is_inside(name: str, compiled: str | None) -> bool:
    """Whether a module is the compiled one, by name, or within it."""
    return compiled is not None and (name == compiled or name.startswith(compiled + "."))


def with_parents(name: str) -> list[str]:
    """A module's name and those of all that it is inside of."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def blocks(named: Mapping[str, nn.Module]) -> dict[str, str]:
    """Each module's enclosing member of a ``Sequential`` or ``ModuleList``, the innermost that has members itself."""
    result: dict[str, str] = {}
    members = {
        f"{name}.{child}" if name else child
        for name, module in named.items()
        if isinstance(module, nn.Sequential | nn.ModuleList)
        for child, inner in module.named_children()
        if any(True for _ in inner.children())
    }
    for name in named:
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            if (outer := ".".join(parts[:end])) in members:
                result[name] = outer
                break
    return result
