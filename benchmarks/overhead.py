"""What watching costs: CPU time of a watched training step over a bare one.

    python benchmarks/overhead.py                # all workloads, all variants that are installed
    python benchmarks/overhead.py W1 W3 --variants watch,every-1 --counted 320

All variants of a workload run in one process, in short blocks in turn, so that the drift of the machine cancels; each trains
its own copy of the same model. The figure is the ratio of the sums over all counted blocks, after a warm-up: a step that
costs a lot once in a while counts. Beside it the median block and the 10 to 90 % spread, and the time that one sampled
step adds. The last line is the same as JSON. One thread, CPU time of the process.

Once in a while Python collects the garbage of the whole process, in a fifth of a second: four steps of W5, where it comes
every few dozen. It strikes whichever variant runs just then, the bare loop too: the ratio without that time stands beside,
and the variant ``control``, a second bare loop, shows how far the figure is from 1 where nothing is watched at all. W5 counts
800 steps: in 160 there are two or three of these, and a second bare loop came to 0.94 to 1.07.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import itertools
import json
import os
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradscope


def mlp(depth: int, width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        linear = nn.Linear(width, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def cnn() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    for _ in range(18):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(256, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(1))


# model, input shape, learning rate, steps a block, warm-up steps, counted steps, what it is
WORKLOADS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float, int, int, int, str]] = {
    "W1": (lambda: mlp(64, 64), (128, 64), 1e-3, 8, 320, 640, "MLP 64 x 64, batch 128"),
    "W2": (lambda: mlp(8, 1024), (256, 1024), 1e-3, 2, 40, 96, "MLP 8 x 1024, batch 256"),
    "W3": (cnn, (64, 3, 32, 32), 1e-2, 2, 40, 96, "CNN, 19 layers of 16 channels, 32 x 32, batch 64"),
    "W4": (Encoder, (16, 64, 256), 1e-3, 2, 40, 96, "transformer encoder, 4 layers, d 256, 16 x 64 tokens"),
    "W5": (lambda: mlp(1000, 32), (128, 32), 1e-5, 2, 60, 800, "MLP 1,000 x 32, batch 128"),
}


@dataclass(frozen=True)
class Loop:
    """What a variant does at the moments of a training step."""

    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    backward: Callable[[Tensor], None] = Tensor.backward
    before: Callable[[nn.Module], None] = lambda model: None  # the optimizer's step
    after: Callable[[Tensor], None] = lambda loss: None


Variant = Callable[[nn.Module, torch.optim.Optimizer], Any]
"""A context manager that gives the ``Loop`` of a model and its optimizer."""


@contextmanager
def bare(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Loop]:
    yield Loop()


def watching(**options: Any) -> Variant:
    @contextmanager
    def variant(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Loop]:
        with gradscope.watch(model, optimizer, **options) as scope:
            yield Loop(after=scope.step)

    return variant


@contextmanager
def item_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Loop]:
    """The usual loop: one norm and one wait for the device a parameter."""
    seen: list[float] = []

    def read(model: nn.Module) -> None:
        seen[:] = [p.grad.norm().item() for p in model.parameters() if p.grad is not None]

    yield Loop(before=read)


@contextmanager
def wandb_watch(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Loop]:
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(mode="offline", dir=folder, settings=wandb.Settings(silent=True))
        run.watch(model, log="gradients", log_freq=1)
        yield Loop(after=lambda loss: run.log({"loss": loss.item()}))
        run.finish()


@contextmanager
def tensorboard_histograms(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Loop]:
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        step = iter(range(10**9))

        def read(model: nn.Module) -> None:
            at = next(step)
            for name, p in model.named_parameters():
                if p.grad is not None:
                    writer.add_histogram(name, p.grad, at)

        yield Loop(before=read)


@contextmanager
def cockpit_economy(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Loop]:
    """Its cheapest configuration, every step."""
    from backpack import extend
    from cockpit import Cockpit
    from cockpit.utils.configuration import configuration

    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    extend(model)
    mean, each = extend(nn.CrossEntropyLoss()), nn.CrossEntropyLoss(reduction="none")
    cockpit = Cockpit(model.parameters(), quantities=configuration("economy"))
    step, rows = itertools.count(), torch.empty(0)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        nonlocal rows
        rows = each(outputs, labels)
        return mean(outputs, labels)

    def backward(loss: Tensor) -> None:
        at, batch = next(step), {"batch_size": len(rows), "individual_losses": rows, "loss": loss, "optimizer": optimizer}
        with cockpit(at, info=batch):
            loss.backward(create_graph=cockpit.create_graph(at))

    yield Loop(loss=loss, backward=backward)


VARIANTS: dict[str, tuple[Variant, str | None]] = {
    "control": (bare, None),
    "watch": (watching(), None),
    "norms-every-1": (watching(every={"gradients": 1}), None),
    "every-1": (watching(every=1), None),
    "item-loop": (item_loop, None),
    "wandb": (wandb_watch, "wandb"),
    "tensorboard": (tensorboard_histograms, "tensorboard"),
    "cockpit": (cockpit_economy, "cockpit"),
}
"""Name -> what it does, and the package that it needs."""


class Collections:
    """The CPU time that full collections of Python's garbage took, by what ran."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def of(self, variant: str) -> Iterator[None]:
        began = 0.0

        def collecting(phase: str, info: dict[str, int]) -> None:
            nonlocal began
            if info["generation"] < 2:
                return
            if phase == "start":
                began = time.process_time()
            else:
                self.seconds[variant] += time.process_time() - began

        gc.callbacks.append(collecting)
        try:
            yield
        finally:
            gc.callbacks.remove(collecting)


def measure(name: str, variants: list[str], counted: int | None, warm_up: int | None) -> dict[str, dict[str, Any]]:
    build, shape, lr, block, usual_warm_up, usual, _ = WORKLOADS[name]
    counted, warm_up = counted or usual, usual_warm_up if warm_up is None else warm_up
    torch.manual_seed(0)
    x, y = torch.randn(shape), torch.randint(0, 10, (shape[0],))
    contexts, runners = [], {}
    for variant in ["bare", *variants]:
        torch.manual_seed(1)
        model = build()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        context = (bare if variant == "bare" else VARIANTS[variant][0])(model, optimizer)
        contexts.append(context)
        loop = context.__enter__()

        def run(model=model, optimizer=optimizer, loop=loop) -> tuple[float, float]:
            began = time.process_time()
            for _ in range(block):
                optimizer.zero_grad()
                loss = loop.loss(model(x), y)
                loop.backward(loss)
                loop.before(model)
                optimizer.step()
                loop.after(loss)
            return time.process_time() - began, loss.item()

        runners[variant] = run
    collections = Collections()
    times: dict[str, list[float]] = {v: [] for v in runners}
    losses: dict[str, list[float]] = {v: [] for v in runners}
    for turn in range((warm_up + counted) // block):
        for variant, run in runners.items():
            with collections.of(variant if turn >= warm_up // block else "warm-up"):
                seconds, loss = run()
            losses[variant].append(loss)
            if turn >= warm_up // block:
                times[variant].append(seconds / block)
    for context in contexts:
        context.__exit__(None, None, None)
    result = {}
    bare_times = times["bare"]
    collected = {v: collections.seconds[v] / block for v in runners}
    for variant in variants:
        ratios = [t / b for t, b in zip(times[variant], bare_times, strict=True)]
        tenths = statistics.quantiles(ratios, n=10)
        result[variant] = {
            "ratio": round(sum(times[variant]) / sum(bare_times), 3),
            "uncollected": round((sum(times[variant]) - collected[variant]) / (sum(bare_times) - collected["bare"]), 3),
            "median": round(statistics.median(ratios), 3),
            "p10": round(tenths[0], 3),
            "p90": round(tenths[-1], 3),
            "added_ms": round(1e3 * (sum(times[variant]) - sum(bare_times)) / len(bare_times), 2),
            "bare_ms": round(1e3 * sum(bare_times) / len(bare_times), 2),
            "bit_identical": losses[variant] == losses["bare"],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], help="W1 to W5; all of them when left out")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated; those not installed are left out")
    parser.add_argument("--counted", type=int, help="steps that count, in place of the workload's own number")
    parser.add_argument("--warm-up", type=int, help="steps before them, in place of the workload's own number")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("WANDB_SILENT", "true")
    wanted = [v for v in options.variants.split(",") if not (need := VARIANTS[v][1]) or importlib.util.find_spec(need)]
    results = {}
    for name in options.workloads or WORKLOADS:
        results[name] = measure(name, wanted, options.counted, options.warm_up)
        print(f"{name}: {WORKLOADS[name][-1]}, bare {results[name][wanted[0]]['bare_ms']} ms a step")
        for variant, r in results[name].items():
            same = "" if r["bit_identical"] else "  LOSSES DIFFER"
            spread = f"median {r['median']:.3f}, 10-90 % {r['p10']:.3f} to {r['p90']:.3f}"
            if r["uncollected"] != r["ratio"]:
                spread += f"; without full garbage collections {r['uncollected']:.3f}"
            print(f"  {variant:14} {r['ratio']:7.3f}  ({spread}), {r['added_ms']:+.2f} ms a step{same}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
