"""The oracle of these tests: what plain torch says of a training, read at places that only the loop itself knows.

A loop is written once, as ``loop(model, optimizer, eye)``, and tells its eye what it has just done: ``backward_done``,
``before_step``, ``step(loss)``. ``Plain`` looks with retained gradients and sums in float64; ``Watched`` ignores all but
``step`` and leaves the rest to ``gradscope.watch``. ``held`` trains twins with both and compares everything that was recorded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradscope.record.run import Run
from gradscope.scope import watch

Key = tuple[str, int]
Value = float | None


FLOAT32 = 1e-6
"""How far a norm may be off that was taken in float32, which the recorder does where the values allow it."""


class Eye(Protocol):
    def backward_done(self) -> None:
        """All of a step's gradients are there and untouched; asked after each micro-batch."""

    def before_step(self) -> None:
        """Nothing changes the gradients any more before the optimizer takes them."""

    def step(self, loss: Any) -> None: ...


Loop = Callable[[nn.Module, Any, Eye], None]


class Watched:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    def backward_done(self) -> None: ...

    def before_step(self) -> None: ...

    def step(self, loss: Any) -> None:
        self.scope.step(loss)


class Plain:
    """What should be recorded, step by step: ``parameters[step][name][column]`` and the like."""

    def __init__(self, model: nn.Module, *, calls: bool = True, scale: Callable[[], float] = lambda: 1.0) -> None:
        self.model = model
        self.scale = scale
        self.names = {p: n for n, p in model.named_parameters()}
        self.losses: list[float] = []
        self.total: list[Value] = []
        self.clipped_total: list[Value] = []
        self.update: list[float] = []
        self.parameters: list[dict[str, dict[str, Value]]] = []
        self.layers: list[dict[Key, dict[str, Value]]] = []
        self.streams: list[dict[Key, dict[str, Value]]] = []
        """By the input of a module: what reaches it where it is a station of its own."""
        if calls:
            for name, module in model.named_modules():
                if module is not model:
                    module.register_forward_pre_hook(self._before(name))
                    module.register_forward_hook(self._after(name))
        self._forget()

    def _forget(self) -> None:
        self._raw: dict[str, dict[str, Value]] = {}
        self._clipped: dict[str, Value] = {}
        self._weights: dict[str, Tensor] = {}
        self._seen: list[dict[Key, tuple[Tensor, Tensor]]] = []
        self._inputs: dict[Key, list[Tensor]] = {}
        self._taken: dict[Key, list[Tensor]] = {}
        self._streams: dict[Key, list[Tensor]] = {}
        self._open: dict[Key, tuple[Tensor, Tensor]] = {}
        self._calls: dict[str, int] = {}
        self._entered: dict[str, int] = {}

    # ---- hooks of its own, on a model of its own

    def _before(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            if self.model.training and torch.is_grad_enabled() and args and isinstance(args[0], Tensor):
                key = (name, self._entered.get(name, 0))
                self._entered[name] = key[1] + 1
                self._inputs.setdefault(key, []).append(args[0].detach().clone())
                if args[0].requires_grad and not args[0].is_leaf:
                    args[0].register_hook(self._arriving((f"input of {name}", key[1])))

        return hook

    def _arriving(self, key: Key) -> Callable[[Tensor], None]:
        """The gradient at a module's input, summed over all that read it."""

        def hook(gradient: Tensor) -> None:
            self._streams.setdefault(key, []).append(gradient.double() / self.scale())

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            tensor = first_tensor(output)
            if not self.model.training or tensor is None or not tensor.requires_grad:
                return
            key = (name, self._calls.get(name, 0))
            self._calls[name] = key[1] + 1
            tensor.retain_grad()
            self._open[key] = (tensor, tensor.detach().clone())

        return hook

    # ---- what the loop tells

    def discard_forward(self) -> None:
        """The last forward pass was for another purpose: no backward follows."""
        self._open, self._calls, self._entered, self._inputs = {}, {}, {}, {}

    def backward_done(self) -> None:
        scale = self.scale()
        for p, name in self.names.items():
            self._raw[name] = gradient_columns(p, scale)
        self._seen.append({k: (value, o.grad.double() / scale) for k, (o, value) in self._open.items() if o.grad is not None})
        for key, inputs in self._inputs.items():
            self._taken.setdefault(key, []).extend(inputs)
        self.discard_forward()

    def before_step(self) -> None:
        scale = self.scale()
        for p, name in self.names.items():
            self._clipped[name] = gradient_columns(p, scale)["grad_norm"]
        if not self._weights:
            self._weights = {name: p.detach().clone() for p, name in self.names.items()}

    def step(self, loss: Any) -> None:
        self.losses.append(float(loss.detach() if isinstance(loss, Tensor) else loss))
        rows = self._raw
        for p, name in self.names.items():
            if name not in rows:
                continue
            row = rows[name]
            row["frozen"] = float(not p.requires_grad)
            if self._weights:
                row["weight_norm"] = norm(p)
                row["update_norm"] = norm(p.double() - self._weights[name].double())
            touched = self._clipped.get(name) is not None and not close(self._clipped[name], row["grad_norm"], 1e-6)
            row["clipped_norm"] = self._clipped[name] if touched else None
        self.parameters.append(rows)
        self.total.append(whole(row["grad_norm"] for row in rows.values()))
        clipped = whole(self._clipped.values())
        self.clipped_total.append(None if clipped is None or close(clipped, self.total[-1], 1e-6) else clipped)
        if self._weights:
            self.update.append(whole(row["update_norm"] for row in rows.values()) or 0.0)
        self.layers.append(self._layer_columns())
        self.streams.append(self._stream_columns())
        self._forget()

    def _layer_columns(self) -> dict[Key, dict[str, Value]]:
        modules = dict(self.model.named_modules())
        result: dict[Key, dict[str, Value]] = {}
        for key in dict.fromkeys(k for micro in self._seen for k in micro):
            outputs = [micro[key][0].double() for micro in self._seen if key in micro]
            gradients = [micro[key][1] for micro in self._seen if key in micro]
            entries = torch.cat([o.flatten() for o in outputs])
            row: dict[str, Value] = {
                "forward_norm": norm(entries),
                "forward_mean": float(entries.mean()),
                "forward_std": float(entries.std(unbiased=False)),
                "backward_norm": norm(torch.cat([g.flatten() for g in gradients])),
                "rows": float(sum(len(o) if o.dim() else 1 for o in outputs)),
            }
            module = modules[key[0]]
            inputs = self._taken.get(key, [])
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding):
                dim = 1 if isinstance(module, nn.Conv1d | nn.Conv2d) else -1
                row["dead_share"] = dead_share([g != 0 for g in gradients], dim) if row["backward_norm"] else None
            elif isinstance(module, nn.ReLU):
                row["dead_share"] = dead_share([i > 0 for i in inputs], 1 if inputs[0].dim() == 4 else -1)
            elif isinstance(module, nn.Tanh | nn.Sigmoid):
                row["saturated_share"] = saturated_share(module, torch.cat([i.flatten() for i in inputs]))
            result[key] = row
        return result

    def _stream_columns(self) -> dict[Key, dict[str, Value]]:
        columns: dict[Key, dict[str, Value]] = {}
        for key, gradients in self._streams.items():
            rows = sum(len(g) if g.dim() else 1 for g in gradients)
            columns[key] = {"backward_norm": norm(torch.cat([g.flatten() for g in gradients])), "rows": float(rows)}
        return columns


def gradient_columns(p: Tensor, scale: float = 1.0) -> dict[str, Value]:
    """The columns of a parameter's gradient; all of them null where there is none."""
    if p.grad is None:
        return dict.fromkeys(("grad_norm", "grad_max", "zero_count", "nonfinite_count"))
    g = p.grad.detach().to_dense().double() / scale
    return {
        "grad_norm": norm(g),
        "grad_max": float(g.abs().max()) if g.numel() else 0.0,
        "zero_count": float((g == 0).sum()),
        "nonfinite_count": float((~g.isfinite()).sum()),
    }


def bits(t: Tensor) -> Tensor:
    return t.detach().contiguous().reshape(-1).view(torch.uint8)


def norm(t: Tensor) -> float:
    return float(torch.linalg.vector_norm(t.detach().double()))


def whole(norms: Iterable[Value]) -> Value:
    present = [n for n in norms if n is not None]
    return float(np.sqrt(np.sum(np.square(present)))) if present else None


def dead_share(alive: list[Tensor], dim: int) -> float:
    units = torch.cat([a.movedim(dim, -1).flatten(0, -2) if a.dim() > 1 else a[None] for a in alive])
    return float((~units.any(0)).double().mean())


def saturated_share(module: nn.Module, inputs: Tensor) -> float:
    def slope(x: Tensor) -> Tensor:
        x = x.double().requires_grad_()
        return torch.autograd.grad(module(x).sum(), x)[0].abs()

    return float((slope(inputs) < 0.05 * slope(torch.linspace(-3, 3, 6001)).max()).double().mean())


def first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((t for item in items if (t := first_tensor(item)) is not None), None)


def close(a: Value, b: Value, rel: float) -> bool:
    return a is not None and b is not None and (a == b or (a != a and b != b) or abs(a - b) <= rel * max(abs(a), abs(b)))


# ---- comparing


def value(run: Run, table: str, column: str, step: int, entity: Key = ("", 0)) -> Value:
    """One recorded value; None where it is absent."""
    grid = run.grid(table, column)
    if entity not in grid.entities or step not in grid.steps:
        return None
    at = int(np.searchsorted(grid.steps, step)), grid.entities.index(entity)
    return float(grid.values[at]) if grid.present[at] else None


def same(got: Value, expected: Value, rel: float, where: object) -> None:
    if expected is None or got is None:
        assert got is expected, where
    else:
        assert got == pytest.approx(expected, rel=rel, abs=0, nan_ok=True), where


def agree(
    run: Run,
    plain: Plain,
    *,
    rel: float = 1e-9,
    updates: bool = True,
    layers: bool = True,
    unseen: Collection[tuple[int, Key]] = (),
) -> None:
    """Everything that was recorded, at every step, against plain torch; ``unseen`` (step, layer) have no row."""
    assert list(run.grid("steps", "loss").steps) == list(range(len(plain.losses)))
    for step, loss in enumerate(plain.losses):
        same(value(run, "steps", "loss", step), loss, 1e-12, ("loss", step))
        total, clipped = plain.total[step], plain.clipped_total[step]
        same(value(run, "steps", "total_norm", step), total, rel, ("total", step))
        same(value(run, "steps", "clipped_norm", step), clipped, rel, ("clipped total", step))
        coefficient = clipped / total if clipped is not None and total else None
        same(value(run, "steps", "clip_coefficient", step), coefficient, rel, ("coefficient", step))
        if updates and plain.update:
            same(value(run, "steps", "update_norm", step), plain.update[step], rel, ("update", step))
        for name, row in plain.parameters[step].items():
            for column, expected in row.items():
                if updates or column not in ("weight_norm", "update_norm"):
                    same(value(run, "parameters", column, step, (name, 0)), expected, rel, (step, name, column))
        if layers:
            agree_layers(run, plain, step, max(rel, FLOAT32), unseen)


def agree_layers(run: Run, plain: Plain, step: int, rel: float, unseen: Collection[tuple[int, Key]] = ()) -> None:
    grid = run.grid("layers", "backward_norm")
    there = grid.present[list(grid.steps).index(step)] if step in grid.steps else []
    recorded = {entity for entity, ok in zip(grid.entities, there, strict=False) if ok}
    modules = dict(plain.model.named_modules())
    leaves = {k for k in plain.layers[step] if any(True for _ in modules[k[0]].parameters(recurse=False))}
    assert leaves - recorded == {key for at, key in unseen if at == step}, step
    for key in recorded:
        for column, expected in (plain.layers[step].get(key) or plain.streams[step][key]).items():
            same(value(run, "layers", column, step, key), expected, rel, (step, key, column))


def held(
    build: Callable[[], nn.Module],
    loop: Loop,
    optimizer: Callable[[Any], Any] = lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    *,
    twin: Callable[[], nn.Module] | None = None,
    rel: float = 1e-9,
    updates: bool = True,
    layers: bool = True,
    unseen: Collection[tuple[int, Key]] = (),
    **options: Any,
) -> tuple[Run, Plain]:
    """Trains twins, one watched at every step and one read by plain torch; losses, weights and every recorded value agree.

    ``twin`` builds the one for plain torch where it must differ (an in-place activation would overwrite what it retains).
    """
    torch.manual_seed(0)
    watched = build()
    torch.manual_seed(0)
    other = (twin or build)()
    other.load_state_dict(copy.deepcopy(watched.state_dict()))
    plain = Plain(other, calls=layers)
    torch.manual_seed(1)
    loop(other, optimizer(other.parameters()), plain)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    taken = optimizer(watched.parameters())
    with watch(watched, taken, every=1, **options) as scope:
        loop(watched, taken, Watched(scope))
    run = scope.run
    assert torch.equal(torch.get_rng_state(), after), "watching changed the random state"
    for (name, a), b in zip(watched.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(bits(a), bits(b)), f"watching changed {name}"
    agree(run, plain, rel=rel, updates=updates, layers=layers, unseen=unseen)
    return run, plain
