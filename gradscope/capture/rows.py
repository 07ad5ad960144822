"""One step's readings as rows of the tables, still on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from gradscope.capture.buffer import Pending
from gradscope.capture.distributed import Processes
from gradscope.capture.layers import Layers
from gradscope.capture.packing import wide
from gradscope.capture.parameters import Parameters, Reading
from gradscope.record.grid import Block, Floats


def of_user(values: Mapping[str, Tensor | float | None], host: dict[str, float | Floats]) -> dict[str, Tensor]:
    """What a user gives for the row of ``steps``: numbers into ``host``, and what is on a device, not waited for."""
    device: dict[str, Tensor] = {}
    for name, value in values.items():
        if type(value) is Tensor and value.is_cpu:
            host[name] = value.item()  # there is no device to wait for
        elif isinstance(value, Tensor):
            device[name] = value.detach().clone()  # a compiled step may write its outputs in place
        elif value is not None:
            host[name] = float(value)
    return device


def parameter_row(
    step: int, parameters: Parameters, raw: Reading, clipped: Reading | None, *, full: bool
) -> tuple[Pending, dict[str, Tensor]]:
    """The rows of ``parameters`` and what they add to the row of ``steps``; ``full`` with weights and updates."""
    of_step = {"total_norm": raw.total} if raw.whole or raw.present.any() else {}
    device = dict(raw.columns)
    valid = {} if raw.whole or raw.present.all() else dict.fromkeys(device, raw.present)
    if clipped is not None:
        of_step["clipped_norm"] = clipped.total
        of_step["clip_coefficient"] = clipped.total / raw.total
        device["clipped_norm"] = clipped.columns["grad_norm"]
        valid["clipped_norm"] = clipped.present
    host: dict[str, float | Floats] = {}
    if full:
        weights = parameters.of_weights.after_step()
        device.update({name: weights.pop(name) for name in ("weight_norm", "update_norm") if name in weights})
        if weights:
            of_step["update_norm"] = weights.pop("total_update_norm")
            of_step.update(weights)
        if (cosine := parameters.cosine(raw)) is not None:
            of_step["grad_cosine"] = cosine
        host["frozen"] = np.array([not p.requires_grad for p in parameters.items], np.float64)
    return Pending("parameters", step, parameters.entities, host, device, valid), of_step


def layer_row(step: int, layers: Layers, processes: Processes, inverse_scale: Tensor | None) -> Pending | None:
    """The rows of ``layers``; None where no station was reached by a gradient."""
    gather = layers.passes.gather
    kept = [i for i in gather.seen() if gather.keys[i][0] in layers.survey.infos]  # a sample that discovers watches more
    if not kept and not processes.many:
        return None
    device, sums = gather.finish(processes, inverse_scale, kept)
    if not sums.kept or not device:
        return None
    return Pending("layers", step, sums.entities, device=device, complete=sums.complete)


def output_columns(layers: Layers, processes: Processes, inverse_scale: Tensor | None) -> dict[str, Tensor]:
    """What the gradient at the output adds to the row of ``steps``."""
    output = layers.output.finish(processes)
    if output and inverse_scale is not None:
        output["output_backward_norm"] = output["output_backward_norm"] * inverse_scale.to(output["output_backward_norm"])
    return output


def timestep_rows(step: int, layers: Layers, processes: Processes, inverse_scale: Tensor | None) -> Iterator[Pending]:
    """The rows of ``timesteps``, one recurrent module at a time: over all rows that have the time step."""
    found: dict[str, list[Tensor]] = {}
    for replay in layers.replays:
        if replay.lost:
            layers.notes[f"timesteps: {replay.name} {replay.lost}; its gradient through time is not recorded"] = None
        elif (norms := replay.norms()) is not None:
            found.setdefault(replay.name, []).append(norms)
    lengths = processes.share({name: max(map(len, parts)) for name, parts in found.items()})
    for name, length in lengths.items():
        squares = torch.zeros(length, dtype=wide(layers.passes.gather.device), device=layers.passes.gather.device)
        for norms in found.get(name, ()):
            squares[: len(norms)] += norms[:length].square()
        norms = processes.add_up(squares).sqrt() / processes.world
        scaled = norms if inverse_scale is None else norms * inverse_scale.to(norms)
        yield Pending("timesteps", step, tuple((name, t) for t in range(length)), {}, {"backward_norm": scaled})


def scale_of(scaler: object) -> Tensor | None:
    """A gradient scaler's scale on its device, without waiting for it; None before its first use."""
    read = getattr(scaler, "_get_scale_async", None)
    scale = read() if read is not None else None
    return scale if isinstance(scale, Tensor) else None


def inverse(scale: Tensor | None) -> Tensor | None:
    if scale is None:
        return None
    return (scale if scale.device.type == "mps" else scale.to(torch.float64)).reciprocal()


def without_idle_clipping(block: Block) -> Block:
    """Drops clipped norms that equal the raw ones: what moved the gradient was a scaler, or a limit that was not reached."""
    raw = block.columns.get("total_norm", block.columns.get("grad_norm"))
    clipped = block.columns.get("clipped_norm")
    if raw is None or clipped is None:
        return block
    with np.errstate(all="ignore"):
        real = ~(np.abs(clipped - raw) <= 1e-6 * np.abs(raw))
    valid = dict(block.valid)
    for name in ("clipped_norm", "clip_coefficient"):
        if name in block.columns:
            valid[name] = valid.get(name, np.ones(real.shape, bool)) & real
    return Block(block.table, block.steps, block.entities, block.columns, valid)
