"""``gradscope probe``: a config's network before it is trained, theory beside measurement."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli.gate import FailOn, FailOnOption, gate
from gradscope.cli.run import Device, described
from gradscope.cli.terminal import deliver, next_command, note


class ProbeFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def probe(
    config: Annotated[Path, typer.Argument(help="A YAML file; gradscope schema says what may stand in it.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values in place of the file's: model.depth=50.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="The same as an option.")] = None,
    device: Annotated[
        Device | None,
        typer.Option("--device", metavar=f"[{'|'.join(Device)}]", help="Where to compute, in place of the config's device."),
    ] = None,
    format: Annotated[
        ProbeFormat, typer.Option("--format", metavar=f"[{'|'.join(ProbeFormat)}]", help="How the diagnosis is written.")
    ] = ProbeFormat.TEXT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Draw the figure too: measured and predicted, .png, .svg or .pdf."),
    ] = None,
    fail_on: FailOnOption = FailOn.NEVER,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say the diagnosis alone.")] = False,
) -> None:
    """Diagnose the network of a config without training it: one batch forward and back at initialisation.

    Layer by layer: the signal, how much of the gradient passes back, measured and as theory predicts; which factor of the
    chain rule takes it away; the verdict to expect of a training, and the depth at which it would set in.
    """
    from gradscope.training.config import load_config

    chosen = [*(overrides or ()), *(set_ or ()), *([f"device={device.value}"] if device else ())]
    loaded = load_config(config, chosen)

    from gradscope.probe import probe as diagnose
    from gradscope.probe.text import write
    from gradscope.render.terminal import Terminal
    from gradscope.training.build import build
    from gradscope.training.device import failures_are_told, own_random_state, resolve

    where = resolve(loaded.device)
    with own_random_state(where), failures_are_told(where):
        setup = build(loaded)
        if not quiet:
            note(described(setup))
        found = diagnose(setup.model, setup.first_batch(), setup.loss, name=loaded.name)
    if format is ProbeFormat.JSON:
        deliver(json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False), None)
    else:
        deliver(write(found, terminal=Terminal.of(sys.stdout)), None)
    if output is not None:
        from gradscope.probe.figure import draw
        from gradscope.render import save

        note(f"figure: {save(draw(found), output)}")
    if not quiet:
        next_command("run", config, *chosen)
    gate(found.report, fail_on)
