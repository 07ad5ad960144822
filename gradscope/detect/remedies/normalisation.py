"""Normalise what goes into each activation.

Values of unit variance keep a two-sided activation off its flat ends and a rectifier from dying, whatever the gain. A norm
over the features (layer norm) leaves the gradient of a ReLU network level. Batch norm multiplies its square by pi / (pi - 1)
in each layer of a plain one, 1.47, so that deep plain networks explode under it: there it needs residual paths.

Source: Ioffe & Szegedy 2015; Ba, Kiros & Hinton 2016; Yang et al. 2019, theorem 8.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, setting
from gradscope.errors import GradscopeError
from gradscope.numbers import number
from gradscope.theory.activations import find_activation
from gradscope.theory.normalisation import plain_batch_norm_factor, plain_layer_norm_factor

ANSWERS = (
    "saturated-activations", "dead-units", "unscaled-input", "vanishing-gradients", "exploding-gradients", "stalled-layers",
    "non-finite",
)  # fmt: skip
COST = 4
TORCH = """
nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU()
"""

_IMAGES = ("cnn", "resnet")
"""Networks of convolutions: their norm is over the batch."""
LIMIT = 100.0
"""Growth of the gradient over all layers that counts as an explosion."""


def propose(case: Case) -> Iterator[Proposal]:
    now, kind = setting(case, "model.norm"), setting(case, "model.kind")
    if now is None or (now != "none" and not (now == "batch" and kind not in _IMAGES)):
        return
    name = "batch" if kind in _IMAGES else "layer"
    depth = int(setting(case, "model.depth") or 1)
    residual = bool(setting(case, "model.residual"))
    try:
        phi = find_activation(str(setting(case, "model.activation") or "identity"))
        factor = plain_batch_norm_factor(phi) if name == "batch" else plain_layer_norm_factor(phi)
    except GradscopeError:
        return
    whole = factor ** (0.5 * max(depth - 2, 0))
    each, hopeless = number(factor**0.5), None
    if not residual and not 1.0 / LIMIT < whole < LIMIT:
        hopeless = f"under {name} norm a plain {phi.name} layer multiplies the gradient by {each}, all by {number(whole, 2)}"
    passed = "goes past it" if residual else f"is multiplied by {each} in a layer"
    yield Proposal("normalisation", {"model.norm": name}, f"the gradient {passed}, whatever the weights' scale", hopeless)
