"""``gradscope info``: what a bug report needs to know about this machine."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

from gradscope import __version__
from gradscope.cli.terminal import deliver
from gradscope.render.words import count

DISTRIBUTION = "gradscope-torch"


def info() -> None:
    """Print versions, devices and what other packages add, for a bug report."""
    facts = list(_facts())
    width = max(len(name) for name, _ in facts)
    deliver("\n".join(f"{name:<{width}}  {value}" for name, value in facts), None)


def _facts() -> Iterator[tuple[str, str]]:
    yield "gradscope", __version__
    yield "python", f"{platform.python_version()} ({sys.executable})"
    yield "platform", platform.platform()
    for name in ("torch", *_dependencies()):
        yield name, _version(name)
    yield from _devices()
    yield from _added()


def _dependencies() -> list[str]:
    """The distributions that this one needs, by their own metadata, without extras."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a source tree that was never installed
        return []
    names = {line.split(";")[0].split(">")[0].split("=")[0].split("[")[0].strip() for line in lines if "extra ==" not in line}
    return sorted(names - {"torch"})


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    yield "device cpu", count(torch.get_num_threads(), "thread")
    if torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
        for index in range(torch.accelerator.device_count()):
            name = torch.cuda.get_device_name(index) if accelerator and accelerator.type == "cuda" else str(accelerator)
            yield f"device {accelerator}:{index}", name
    else:
        yield "accelerator", "none that torch finds"
    backends = [b for b in ("gloo", "nccl", "mpi") if torch.distributed.is_available() and _has(b)]
    yield "distributed", ", ".join(backends) or "not available"


def _has(backend: str) -> bool:
    import torch.distributed

    return bool(getattr(torch.distributed, f"is_{backend}_available")())


def _added() -> Iterator[tuple[str, str]]:
    """What entry points of other packages add."""
    from gradscope.detect.engine import RULES
    from gradscope.training.config import ARCHITECTURES, DATASETS

    for registry in (RULES, ARCHITECTURES, DATASETS):
        for name, entry in registry.added.items():
            yield f"{registry.noun} {name}", f"from {entry.dist.name if entry.dist else entry.value}"
