"""Runs made of numbers, each a healthy training but for what a test changes: the thresholds of the rules, to the hair."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradscope.detect.engine import check
from gradscope.record.finding import Finding, Severity
from gradscope.record.grid import NO_ENTITY, Block, Floats
from gradscope.record.manifest import Catalogue, LayerInfo, Manifest, ParameterInfo
from gradscope.record.run import Run
from gradscope.record.sink import MemorySink

STEPS, DEPTH, WIDTH, ROWS = 64, 8, 64, 64


def learned(steps: int = STEPS, end: float = 0.1) -> Floats:
    """Falls from 1 to ``end``."""
    return end + (1.0 - end) * np.exp(-6.0 * np.arange(steps) / steps)


@dataclass
class Made:
    """A plain net of ``depth`` linear layers with an activation after each but the last, recorded at every step.

    ``backward`` and ``forward`` (steps, depth) are the norms at the layers, ``share`` (steps, depth - 1) the dead or saturated
    share of the activations, ``columns`` what the table ``steps`` holds besides.
    """

    steps: int = STEPS
    depth: int = DEPTH
    width: int = WIDTH
    rows: int = ROWS
    activation: str = "one-sided"
    dtype: str = "float32"
    learns: bool = True
    backward: Floats | None = None
    forward: Floats | None = None
    share: Floats | float = 0.05
    update_ratio: Floats | float = 1e-3
    times: Floats | None = None
    reads: float = 1.0
    columns: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    shared_loss: bool = False

    @property
    def residual(self) -> Floats:
        return learned(self.steps) if self.learns else np.ones(self.steps)

    @property
    def run(self) -> Run:
        names = [f"layers.{2 * i}" for i in range(self.depth)]
        sink = MemorySink(Manifest("made"))
        sink.describe(Manifest("made", catalogue=self._catalogue(names), shared_loss=self.shared_loss))
        at = np.arange(self.steps, dtype=np.int64)
        one = np.ones((self.steps, self.depth))
        back = self._of(self.backward, one * 0.3 * self.residual[:, None])
        columns = {
            "backward_norm": back,
            "forward_norm": self._of(self.forward, one * 8.0),
            "forward_mean": one * 0.0,
            "forward_std": self._of(self.forward, one * 8.0) / np.sqrt(self.rows),
            "rows": one * self.rows,
        }
        sink.append(Block("layers", at, tuple((n, 0) for n in names), columns))
        share = np.broadcast_to(np.asarray(self.share, float), (self.steps, self.depth - 1))
        column = "dead_share" if self.activation == "one-sided" else "saturated_share"
        kinks = tuple((f"layers.{2 * i + 1}", 0) for i in range(self.depth - 1))
        sink.append(Block("layers", at, kinks, {column: share, "rows": one[:, 1:] * self.rows}))
        self._parameters(sink, at, names, back)
        if self.times is not None:
            entities = tuple(("layers.0", t) for t in range(self.times.shape[1]))
            sink.append(Block("timesteps", at, entities, {"backward_norm": self.times / self.reads * back[:, :1]}))
        sink.append(self._steps(at, back))
        return sink.run()

    def findings(self, code: str) -> list[Finding]:
        return [f for f in check(self.run).findings if f.code == code]

    def says(self, code: str) -> bool:
        """Whether the rule speaks, at warning or above."""
        return any(f.severity is not Severity.INFO for f in self.findings(code))

    def but(self, **changes: Any) -> Made:
        return replace(self, **changes)

    def having(self, **columns: Any) -> Made:
        """The same with these columns in the table ``steps``."""
        return replace(self, columns={**self.columns, **columns})

    # ---- inside

    def _of(self, values: Floats | None, usual: Floats) -> Floats:
        return usual if values is None else np.broadcast_to(np.asarray(values, float), usual.shape).copy()

    def _catalogue(self, names: list[str]) -> Catalogue:
        layers, parameters = [], []
        for i, name in enumerate(names):
            width = 10 if i == self.depth - 1 else self.width
            owned = (f"{name}.weight", f"{name}.bias")
            recurrent = self.times is not None and i == 0
            kind = "RNN" if recurrent else "Linear"
            layers.append(LayerInfo(name, kind, len(layers), owned, True, width, recurrent=recurrent, dtype=self.dtype))
            parameters += [ParameterInfo(owned[0], name, (width, self.width)), ParameterInfo(owned[1], name, (width,))]
            if i < self.depth - 1:
                layers.append(LayerInfo(f"layers.{2 * i + 1}", "Act", len(layers), width=width, activation=self.activation))
        return Catalogue(tuple(layers), tuple(parameters))

    def _parameters(self, sink: MemorySink, at: Any, names: list[str], back: Floats) -> None:
        entities = tuple((f"{name}.{part}", 0) for name in names for part in ("weight", "bias"))
        weight = np.broadcast_to(np.tile([8.0, 0.1], self.depth), (self.steps, 2 * self.depth))
        ratio = np.broadcast_to(np.asarray(self.update_ratio, float), (self.steps, self.depth))
        have = np.array([name not in self.without for name, _ in entities])
        columns = {
            "grad_norm": np.repeat(back, 2, axis=1),
            "weight_norm": weight,
            "update_norm": np.repeat(ratio, 2, axis=1) * weight,
            "frozen": np.broadcast_to([float(name in self.frozen) for name, _ in entities], weight.shape).copy(),
        }
        valid = {"grad_norm": np.broadcast_to(have, weight.shape).copy()}
        sink.append(Block("parameters", at, entities, columns, valid))

    def _steps(self, at: Any, back: Floats) -> Block:
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.sqrt((back**2).sum(axis=1))
        moved = np.cumsum(np.full(self.steps, 1e-3))
        columns: dict[str, Any] = {
            "loss": 2.3 * self.residual**2,
            "lr": np.full(self.steps, 0.05),
            "total_norm": total,
            "update_norm": np.full(self.steps, 1e-3 * 8.0 * np.sqrt(self.depth)),
            "relative_update": np.full(self.steps, 1e-3),
            "displacement_norm": moved * 8.0 * np.sqrt(self.depth),
            "grad_cosine": np.full(self.steps, 0.3),
            "output_backward_norm": self.residual,
            "output_correlation": np.where(at % 2 == 0, 0.05, -0.05),
            "output_offset": np.full(self.steps, 1.0 / np.sqrt(self.rows)),
        }
        columns |= self.columns
        grids = {name: np.broadcast_to(np.asarray(v, float), (self.steps,))[:, None] for name, v in columns.items()}
        valid = {name: ~np.isnan(v) for name, v in grids.items() if name not in ("loss", "total_norm")}
        return Block("steps", at, NO_ENTITY, grids, valid)


HEALTHY = Made()
STUCK = Made(learns=False)
