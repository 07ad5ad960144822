"""The tables of a run and their columns: the one place that says what is recorded and in which unit.

A table is tidy: one row per observation, keyed by ``step``, then by an entity (a parameter or a layer) and, for some,
by an index within the entity (the call within one forward pass, or the time step). The table ``steps`` has no entity.
A value that does not apply or was not read is null, never NaN; a NaN that stands in a table was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT_VERSION = 1
"""Version of the run folder. History: 1 (2026-11) the first."""


@dataclass(frozen=True)
class Column:
    """One value column: its name, Arrow type (``float64``, ``int64`` or ``bool``), unit and meaning."""

    name: str
    meaning: str
    unit: str = ""
    dtype: str = "float64"


@dataclass(frozen=True)
class Table:
    """One table: its name, the columns that key it besides ``step``, and its value columns."""

    name: str
    entity: str | None
    index: str | None
    columns: tuple[Column, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(k for k in ("step", self.entity, self.index) if k)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)


STEPS = Table(
    "steps",
    None,
    None,
    (
        Column("loss", "training loss of the step, as given to scope.step"),
        Column("accuracy", "training accuracy of the step's batch", "share"),
        Column("validation_loss", "mean loss over the validation set"),
        Column("validation_accuracy", "accuracy over the validation set", "share"),
        Column("lr", "learning rate of the first parameter group when the step was taken"),
        Column("total_norm", "L2 norm of all gradients together before clipping, unscaled"),
        Column("clipped_norm", "the same as the optimizer got it; null where nothing was clipped"),
        Column("clip_coefficient", "clipped_norm / total_norm; null where nothing was clipped", "ratio"),
        Column(
            "skipped",
            "whether no optimizer took the step, as where a gradient scaler skips it; null where that cannot be",
            dtype="bool",
        ),
        Column("loss_scale", "the gradient scaler's scale; null without one"),
        Column("update_norm", "L2 norm of the change of all parameters in this step"),
        Column(
            "relative_update",
            "norm of the matrices' change over theirs after it, each counted as LeCun-sized at least",
            "ratio",
        ),
        Column("displacement", "norm of all parameters' change since the recording began over their norm then", "ratio"),
        Column("displacement_norm", "L2 norm of all parameters' change since the recording began"),
        Column("grad_cosine", "cosine between this step's gradient and that of the sampled step before", "cosine"),
        Column("output_backward_norm", "norm of dL/d(output) minus its batch mean"),
        Column("output_correlation", "correlation of dL/d(output) with the output, both centred over the batch", "cosine"),
        Column(
            "output_offset",
            "norm of the batch mean in dL/d(output) over the norm of all of it",
            "ratio",
        ),
        Column("wall_seconds", "time since the recording began, at the end of the step", "s"),
    ),
)

PARAMETERS = Table(
    "parameters",
    "parameter",
    None,
    (
        Column("grad_norm", "L2 norm of the gradient before clipping, unscaled, accumulated; null where there is none"),
        Column("clipped_norm", "L2 norm of the gradient as the optimizer got it; null where nothing was clipped"),
        Column("grad_max", "largest absolute entry of the gradient before clipping"),
        Column("zero_count", "entries of the gradient that are exactly 0", "entries", "int64"),
        Column("nonfinite_count", "entries of the gradient that are NaN or infinite", "entries", "int64"),
        Column("weight_norm", "L2 norm of the parameter after the step"),
        Column("update_norm", "L2 norm of the parameter's change in this step"),
        Column("frozen", "whether requires_grad was off", dtype="bool"),
    ),
)

LAYERS = Table(
    "layers",
    "layer",
    "call",
    (
        Column("forward_norm", "Frobenius norm of the output over the batch"),
        Column("forward_mean", "mean of the output"),
        Column("forward_std", "standard deviation of the output"),
        Column("dead_share", "share of units that pass no gradient for any row of the batch", "share"),
        Column("saturated_share", "share of entries where the activation's slope is under 5 % of its largest", "share"),
        Column("backward_norm", "Frobenius norm over the batch of dL/d(output)"),
        Column("input_backward_norm", "the same of dL/d(input) through this module alone; null where it cannot be told"),
        Column("rows", "rows of the batch that mean, std and shares were taken on", "rows", "int64"),
    ),
)

TIMESTEPS = Table(
    "timesteps",
    "layer",
    "t",
    (Column("backward_norm", "norm of the gradient of the last time step's output with respect to the state at t"),),
)

TABLES: dict[str, Table] = {t.name: t for t in (STEPS, PARAMETERS, LAYERS, TIMESTEPS)}
