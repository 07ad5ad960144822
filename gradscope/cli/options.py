"""Options that several commands share: a config with changes to it, where to compute, how a result is written."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

CONFIG = "A YAML file; gradscope schema says what may stand in it."
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help=CONFIG)]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values in place of the file's: model.depth=50.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as an option.")]


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


DeviceOption = Annotated[
    Device | None,
    typer.Option("--device", metavar=f"[{'|'.join(Device)}]", help="Where to compute, in place of the config's device."),
]


class Written(StrEnum):
    TEXT = "text"
    JSON = "json"


WrittenOption = Annotated[
    Written, typer.Option("--format", metavar=f"[{'|'.join(Written)}]", help="How the result is written.")
]


def changes(overrides: Sequence[str] | None, set_: Sequence[str] | None, device: Device | None) -> list[str]:
    """All that is to stand in place of the file's, as ``key=value``."""
    return [*(overrides or ()), *(set_ or ()), *([f"device={device.value}"] if device else ())]
