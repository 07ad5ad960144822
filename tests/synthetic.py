"""Runs made of arithmetic, for tests of what reads runs: each looks like a training that the real recorder would write.

Every maker is a pure function of its arguments. ``network`` is the general one; the others are its well-known cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradscope.record.finding import Finding, Report, Severity
from gradscope.record.grid import NO_ENTITY, Block
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo, Status
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink

Floats = NDArray[np.float64]
_NORMS = {"backward_norm", "grad_norm", "forward_norm", "update_norm", "weight_norm", "total_norm"}


def stations(depth: int, width: int = 64, activation: str = "two-sided") -> Catalogue:
    """A plain net as ``nn.Sequential`` names it: ``layers.0`` linear, ``layers.1`` activation, ... and the head last."""
    layers: list[LayerInfo] = []
    parameters: list[ParameterInfo] = []
    for i in range(depth):
        name, last = f"layers.{2 * i}", i == depth - 1
        owned = (f"{name}.weight", f"{name}.bias")
        layers.append(LayerInfo(name, "Linear", len(layers), owned, trunk=True, width=10 if last else width, block=name))
        parameters.append(ParameterInfo(owned[0], name, (10 if last else width, width)))
        parameters.append(ParameterInfo(owned[1], name, (10 if last else width,)))
        if not last:
            kind = "Sigmoid" if activation == "two-sided" else "ReLU"
            layers.append(LayerInfo(f"layers.{2 * i + 1}", kind, len(layers), width=width, activation=activation))
    return Catalogue(tuple(layers), tuple(parameters))


def recorded(
    name: str,
    depth: int,
    steps: int,
    *,
    gain: float,
    forward_gain: float = 1.0,
    head: float = 0.3,
    loss: Floats | None = None,
    drift: float = 0.0,
    clip: float | None = None,
    every: int = 1,
    activation: str = "two-sided",
    seed: int = 0,
    status: Status = Status.FINISHED,
) -> MemorySink:
    """The record of a plain net whose gradient changes by the factor ``gain`` per layer towards the input.

    ``drift`` is the change of ln gain over the whole run, ``loss`` (steps,) its loss, ``clip`` a largest total norm,
    ``every`` the cadence of the tables by layer.
    """
    draw = np.random.default_rng(seed)
    catalogue = stations(depth, activation=activation)
    trunk = [layer for layer in catalogue.layers if layer.trunk]
    sampled = np.unique(np.append(np.arange(0, steps, every), steps - 1)).astype(np.int64)
    when = sampled[:, None] / max(steps - 1, 1)
    above = np.arange(depth)[::-1]  # layers between this one and the loss
    wobble = np.exp(0.05 * draw.standard_normal((len(sampled), depth)))
    with np.errstate(over="ignore", under="ignore"):
        back = head * np.exp(above * (np.log(gain) + drift * when)) * wobble
        back = back.astype(np.float32).astype(np.float64)  # as gradients in float32 are: below 1.4e-45 there is only 0
        ahead = 8.0 * forward_gain ** np.arange(depth) * np.exp(0.02 * draw.standard_normal((len(sampled), depth)))
        weight = np.full_like(back, 8.0) * (1.0 + 0.1 * when)
        grads = (back * ahead).astype(np.float32).astype(np.float64)
        updates = 0.05 * grads

    sink = MemorySink(
        Manifest(name, status=status, catalogue=catalogue, created="2026-01-01T00:00:00+00:00", gradscope="0.1.0")
    )
    names = tuple((layer.name, 0) for layer in trunk)
    kinks = tuple((layer.name, 0) for layer in catalogue.layers if not layer.trunk)
    rows = np.full_like(back, 128.0)
    sink.append(
        Block(
            "layers", sampled, names, {"backward_norm": back, "forward_norm": ahead, "forward_std": ahead / 90.0, "rows": rows}
        )
    )
    if kinks:
        share = np.clip(0.02 + 0.02 * draw.standard_normal((len(sampled), depth - 1)), 0.0, 1.0)
        column = "saturated_share" if activation == "two-sided" else "dead_share"
        sink.append(Block("layers", sampled, kinks, {"backward_norm": back[:, :-1] * 0.9, "rows": rows[:, :-1], column: share}))
    for suffix, part in (("weight", 1.0), ("bias", 0.1)):
        entities = tuple((f"{layer.name}.{suffix}", 0) for layer in trunk)
        columns = {
            "grad_norm": grads * part,
            "grad_max": grads * part / 4.0,
            "zero_count": np.zeros_like(grads),
            "weight_norm": weight * part,
            "update_norm": updates * part,
            "frozen": np.zeros_like(grads),
        }
        sink.append(Block("parameters", sampled, entities, columns))
    sink.append(_steps(steps, loss if loss is not None else falling(steps, draw), draw, grads, sampled, clip))
    return sink


def network(name: str, depth: int, steps: int, **options: Any) -> Run:
    """``recorded`` as a run."""
    return recorded(name, depth, steps, **options).run()


def changed(sink: MemorySink, change: Callable[[Block], Block], **manifest: Any) -> Run:
    """The same record with every block changed."""
    other = MemorySink(replace(sink.manifest, **manifest))
    for block in sink.blocks:
        other.append(change(replace(block, columns={k: v.copy() for k, v in block.columns.items()}, valid=dict(block.valid))))
    return other.run()


def _steps(steps: int, loss: Floats, draw: np.random.Generator, grads: Floats, sampled: Floats, clip: float | None) -> Block:
    at = np.searchsorted(sampled, np.arange(steps), side="right") - 1
    with np.errstate(over="ignore"):
        total = np.sqrt((grads**2).sum(axis=1))[at]
    validated = np.zeros(steps, bool)
    validated[np.unique(np.append(np.arange(0, steps, max(steps // 8, 1)), steps - 1))] = True
    columns = {
        "loss": loss,
        "validation_loss": loss * 1.05 + 0.02,
        "lr": np.full(steps, 0.05),
        "total_norm": total,
        "wall_seconds": np.arange(1, steps + 1) * 0.004,
    }
    valid = {"validation_loss": validated[:, None]}
    if clip is not None:
        cut = total > clip
        columns |= {"clipped_norm": np.minimum(total, clip), "clip_coefficient": np.where(cut, clip / total, np.nan)}
        valid |= {"clipped_norm": cut[:, None], "clip_coefficient": cut[:, None]}
    return Block("steps", np.arange(steps, dtype=np.int64), NO_ENTITY, {k: v[:, None] for k, v in columns.items()}, valid)


def falling(steps: int, draw: np.random.Generator, start: float = 2.3, end: float = 0.05) -> Floats:
    """A loss that is learnt: exponential decay with a little noise."""
    time = np.arange(steps) / max(steps - 1, 1)
    return (end + (start - end) * np.exp(-5.0 * time)) * np.exp(0.04 * draw.standard_normal(steps))


def plain_sigmoid(depth: int = 20, steps: int = 200, **options: Any) -> Run:
    """The textbook case: the gradient falls by 0.24 per layer towards the input, the loss stays at chance."""
    return _sigmoid(depth, steps, **options).run()


def _sigmoid(depth: int, steps: int, **options: Any) -> MemorySink:
    loss = 2.303 * np.exp(0.004 * np.random.default_rng(7).standard_normal(steps))
    return recorded(f"plain-sigmoid-{depth}", depth, steps, **({"gain": 0.24, "loss": loss} | options))


def healthy_relu(depth: int = 20, steps: int = 200, **options: Any) -> Run:
    """ReLU under He initialisation: level gradients, a loss that falls."""
    return network(f"relu-he-{depth}", depth, steps, **({"gain": 1.0, "activation": "one-sided", "seed": 1} | options))


def exploding(depth: int = 20, steps: int = 200, *, breaks: int = 120) -> Run:
    """Gradients grow by 3 a layer, the updates blow the weights up.

    At step ``breaks`` the first half of the layers is infinite, from the step after everything is NaN.
    """
    loss = falling(steps, np.random.default_rng(3), end=0.8)
    loss[breaks - 20 : breaks] *= np.geomspace(2.0, 1e6, 20)
    loss[breaks:] = np.nan

    def overflow(block: Block) -> Block:
        half = (len(block.entities) + 1) // 2
        for column in block.columns.keys() & _NORMS:
            block.columns[column][np.flatnonzero(block.steps == breaks), :half] = np.inf
            block.columns[column][block.steps > breaks] = np.nan
        return block

    sink = recorded(f"exploding-{depth}", depth, steps, gain=3.0, loss=loss, drift=0.3, seed=3)
    return changed(sink, overflow, status=Status.STOPPED, reason="GS103")


def dead_signal(depth: int = 20, steps: int = 200, *, dead: int = 6, absent: int = 2) -> Run:
    """A net whose first ``dead`` layers get no gradient at all from the middle of the run on, after underflow for a while.

    Of the ``absent`` layers in the middle nothing was recorded.
    """
    sink = _sigmoid(depth, steps, seed=4)
    names = [layer.name for layer in sink.manifest.catalogue.layers if layer.trunk]
    first, middle = set(names[:dead]), set(names[depth // 2 : depth // 2 + absent])

    def fade(block: Block) -> Block:
        owner = [name.removesuffix(".weight").removesuffix(".bias") for name, _ in block.entities]
        still, seen = np.array([name in first for name in owner]), np.array([name not in middle for name in owner])
        valid = dict(block.valid)
        for column in block.columns.keys() & {"backward_norm", "grad_norm", "update_norm"}:
            block.columns[column][np.ix_(block.steps >= steps // 2 - steps // 10, still)] = 1e-41
            block.columns[column][np.ix_(block.steps >= steps // 2, still)] = 0.0
            valid[column] = np.broadcast_to(seen, block.columns[column].shape)
        return replace(block, valid=valid)

    return changed(sink, fade, name=f"dead-signal-{depth}")


def broken_for_a_while(depth: int = 20, steps: int = 200) -> Run:
    """All is NaN from two fifths of the run to half of it, and finite again afterwards."""
    loss = falling(steps, np.random.default_rng(0))
    loss[steps * 2 // 5 : steps // 2] = np.nan

    def gone(block: Block) -> Block:
        for column in block.columns.keys() & _NORMS:
            block.columns[column][(block.steps >= steps * 2 // 5) & (block.steps < steps // 2)] = np.nan
        return block

    return changed(recorded(f"nan-for-a-while-{depth}", depth, steps, gain=0.9, loss=loss), gone)


def long_names(depth: int, steps: int = 60) -> Run:
    """A run and layers whose names are longer than any axis or title has room for."""
    sink = recorded("run", depth, steps, gain=0.95)

    def named(name: str) -> str:
        return f"model.encoder.backbone.blocks.{name}"

    catalogue = Catalogue(
        tuple(
            replace(
                layer,
                name=named(layer.name),
                parameters=tuple(map(named, layer.parameters)),
                block=layer.block and named(layer.block),
            )
            for layer in sink.manifest.catalogue.layers
        ),
        tuple(replace(p, name=named(p.name), layer=named(p.layer)) for p in sink.manifest.catalogue.parameters),
    )

    def renamed(block: Block) -> Block:
        return replace(block, entities=tuple((name and named(name), call) for name, call in block.entities))

    name = "a-run-that-somebody-called-by-all-that-it-was-made-with-lr-0.001-weight-decay-0.1-warmup-100-seed-3"
    return changed(sink, renamed, catalogue=catalogue, name=name)


def absent(depth: int = 8, steps: int = 50) -> Run:
    """A run whose every value is absent: rows of nothing."""

    def nothing(block: Block) -> Block:
        return replace(block, valid={column: np.zeros_like(values, bool) for column, values in block.columns.items()})

    return changed(recorded(f"absent-{depth}", depth, steps, gain=0.9), nothing)


def recurrent(steps: int = 200, *, timesteps: int = 40, factor: float = 0.8) -> Run:
    """An RNN read out at its last time step: two stations, and a gradient that falls by ``factor`` per time step back."""
    draw = np.random.default_rng(5)
    layers = (
        LayerInfo("rnn", "RNN", 0, ("rnn.weight_ih_l0", "rnn.weight_hh_l0"), trunk=True, width=32, recurrent=True),
        LayerInfo("head", "Linear", 1, ("head.weight",), trunk=True, width=10),
    )
    shapes = {"rnn.weight_ih_l0": (32, 8), "rnn.weight_hh_l0": (32, 32), "head.weight": (10, 32)}
    parameters = tuple(ParameterInfo(name, name.partition(".")[0], shape) for name, shape in shapes.items())
    sink = MemorySink(Manifest("rnn-40", status=Status.FINISHED, catalogue=Catalogue(layers, parameters)))
    at = np.arange(steps, dtype=np.int64)
    noise = np.exp(0.1 * draw.standard_normal((steps, 2)))
    sink.append(
        Block(
            "layers",
            at,
            (("rnn", 0), ("head", 0)),
            {"backward_norm": 0.2 * noise, "forward_norm": np.array([3.0, 5.0]) * noise},
        )
    )
    back = factor ** np.arange(timesteps)[::-1] * np.exp(0.05 * draw.standard_normal((steps, timesteps)))
    sink.append(Block("timesteps", at, tuple(("rnn", t) for t in range(timesteps)), {"backward_norm": back}))
    grads = np.array([0.3, 0.5, 0.4]) * np.exp(0.1 * draw.standard_normal((steps, 3)))
    columns = {"grad_norm": grads, "weight_norm": np.full((steps, 3), 4.0), "update_norm": 0.01 * grads}
    sink.append(Block("parameters", at, tuple((name, 0) for name in shapes), columns))
    sink.append(_steps(steps, falling(steps, draw), draw, grads, at, None))
    return sink.run()


def empty(name: str = "empty") -> Run:
    """A run that was started and recorded nothing."""
    return MemorySink(Manifest(name, status=Status.RUNNING, catalogue=stations(5))).run()


def vanishing_report(run: Run, sick: int | None = None) -> Report:
    """What the rules say of ``plain_sigmoid``: the first ``sick`` stations see under a thousandth of the gradient."""
    names = [layer.name for layer in run.catalogue.layers if layer.trunk]
    steps = run.step_count
    finding = Finding(
        "GS101",
        "vanishing-gradients",
        Severity.ERROR,
        "The first layers receive almost nothing of the gradient: they stand still while the last ones learn.",
        "backward_ratio",
        float(0.24 ** (len(names) - 1)),
        1e-3,
        confidence=0.98,
        layers=tuple(names[: len(names) * 3 // 5 if sick is None else sick]),
        steps=(0, steps - 1),
        noise_floor=0.04,
        cause="each sigmoid passes on at most a quarter of the gradient, and there are 19 of them",
        cause_code="GS202",
        remedies=("use ReLU with He initialisation (model.activation=relu)", "add residual connections (model.residual=true)"),
    )
    return Report(run.name, steps, (finding,))


def nonfinite_report(run: Run, breaks: int = 120) -> Report:
    """What the rules say of ``exploding``."""
    names = tuple(layer.name for layer in run.catalogue.layers if layer.trunk)
    exploding = Finding(
        "GS102",
        "exploding-gradients",
        Severity.ERROR,
        "The gradient grows from layer to layer on its way back and reaches the input 10^9 times larger.",
        "backward_ratio",
        float(3.0 ** (len(names) - 1)),
        1e2,
        confidence=0.95,
        layers=names[: len(names) // 2],
        steps=(0, breaks - 1),
        noise_floor=6.2,
        remedies=("lower the gain of the initialisation",),
    )
    broken = Finding(
        "GS103",
        "non-finite",
        Severity.ERROR,
        f"The gradient became infinite at step {breaks} and NaN at the next.",
        "backward_norm",
        float("inf"),
        float(np.finfo(np.float32).max),
        layers=names[: len(names) // 2],
        steps=(breaks, run.step_count - 1),
        cause="the updates grew with the gradient until the weights overflowed",
        cause_code="GS102",
        remedies=("cure GS102 first",),
    )
    return Report(run.name, run.step_count, (exploding, broken))


def forgetful_report(run: Run) -> Report:
    """What the rules say of ``recurrent`` when little of the gradient reaches the early time steps."""
    finding = Finding(
        "GS101",
        "vanishing-gradients",
        Severity.ERROR,
        "Through time, rnn passes next to nothing on.",
        "time_ratio",
        0.7**39,
        1e-2,
        layers=("rnn",),
        steps=(0, run.step_count - 1),
        timesteps=(0, 26),
    )
    return Report(run.name, run.step_count, (finding,))


def healthy_report(run: Run) -> Report:
    return Report(run.name, run.step_count)
