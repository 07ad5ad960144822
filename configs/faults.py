"""What code of one's own can do to a training: a forgotten layer, weights drawn too large before a norm, a loss scaled down.

The configs that name these show how each looks. Run them from the folder that holds ``configs``.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F


class Forgotten(nn.Module):
    """Two layers and one beside them that ``forward`` leaves out, unless ``called``."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, called: bool = False) -> None:
        super().__init__()
        self.called = called
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 64), nn.ReLU())
        self.middle = nn.Linear(64, 64)
        self.head = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.stem(x)
        if self.called:
            hidden = F.relu(self.middle(hidden))
        answer: Tensor = self.head(hidden)
        return answer


def heavy(input_shape: tuple[int, ...], outputs: int, gain: float = 60.0) -> nn.Sequential:
    """A layer whose weights are ``gain`` times too large, which the norm that follows it hides from the signal."""
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 64),
        nn.ReLU(),
        middle := nn.Linear(64, 64),
        nn.LayerNorm(64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, outputs),
    )
    middle.weight.data.mul_(gain)
    return net


def scaled_down(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy times 1e-10, as of a mean that was taken twice over."""
    return 1e-10 * F.cross_entropy(outputs, targets)
