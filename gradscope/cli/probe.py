"""``gradscope probe``: a config's network before it is trained, theory beside measurement."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli.gate import FailOn, FailOnOption, gate
from gradscope.cli.options import ConfigFile, DeviceOption, Overrides, Set, Written, WrittenOption, changes
from gradscope.cli.run import described
from gradscope.cli.terminal import as_json, deliver, next_command, note


def probe(
    config: ConfigFile,
    overrides: Overrides = None,
    set_: Set = None,
    device: DeviceOption = None,
    format: WrittenOption = Written.TEXT,
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

    chosen = changes(overrides, set_, device)
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
    if format is Written.JSON:
        deliver(as_json(found.to_dict()), None)
    else:
        deliver(write(found, terminal=Terminal.of(sys.stdout)), None)
    if output is not None:
        from gradscope.probe.figure import draw
        from gradscope.render import save

        note(f"figure: {save(draw(found), output)}")
    if not quiet:
        next_command("run", config, *chosen)
    gate(found.report, fail_on)
