"""What the live view costs, as a share of the training's CPU time: ``python benchmarks/live.py``.

A config is trained with the view drawn as for a terminal of 120 columns; everything that is called between two steps for the
view's sake is timed where it is called. One run says more than the difference of two, which drowns in the machine's noise.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import torch

from gradscope.cli.run import shown_in
from gradscope.render.live import LiveView
from gradscope.render.terminal import Terminal
from gradscope.training.config import load_config
from gradscope.training.loop import Progress, train

CONFIG = Path(__file__).parents[1] / "configs" / "plain-sigmoid-20.yaml"


def share(overrides: list[str]) -> tuple[float, int]:
    """CPU time in the view over that of everything else, and how often it was drawn."""
    config = load_config(CONFIG, overrides)
    inside, drawn = 0.0, 0
    with (
        tempfile.TemporaryDirectory() as folder,
        LiveView("view", config.training.steps, io.StringIO(), terminal=Terminal(120, colour=True, interactive=True)) as view,
    ):
        show = shown_in(view)

        def timed(progress: Progress) -> None:
            nonlocal inside, drawn
            before, redrawn = time.process_time(), view._next
            show(progress)
            inside += time.process_time() - before
            drawn += view._next != redrawn

        began = time.process_time()
        train(config, Path(folder) / "run", progress=timed)
        whole = time.process_time() - began
    return inside / (whole - inside), drawn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {}
    share(["training.steps=5"])  # what is imported and set up once
    for name, changes in {"20 layers": [], "100 layers": ["model.depth=100"]}.items():
        found, drawn = share([f"training.steps={options.steps}", *changes])
        print(f"{name}: {found:.2%} of the training, drawn {drawn} times")
        result[name] = round(found, 4)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
