"""Settings that theory is held to: those with numbers from an independent calculation, and twenty more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    activation: str
    sigma_w_squared: float
    sigma_b_squared: float
    options: tuple[tuple[str, float], ...] = ()
    weights: str = "gaussian"

    def __str__(self) -> str:
        return f"{self.activation}-{self.sigma_w_squared:.4g}-{self.sigma_b_squared:.4g}-{self.weights}"


@dataclass(frozen=True)
class Known:
    """chi at the fixed point; the squared gradient's factor per layer at depth 20 and 30; the weight gradient's at depth 20."""

    setting: Setting
    chi: float
    factor_20: float
    weight_factor_20: float
    factor_30: float


def _known(name: str, w: float, b: float, *numbers: float, **options: float) -> Known:
    return Known(Setting(name, w, b, tuple(options.items())), *numbers)


GRID = [
    _known("linear", 1.0, 0.0, 1.0000, 1.00000, 1.0000, 1.0000),
    _known("relu", 2.0, 0.0, 1.0000, 1.00000, 1.0000, 1.0000),
    _known("relu", 1.0, 0.0, 0.5000, 0.50000, 1.0000, 0.5000),
    _known("relu", 4.0, 0.0, 2.0000, 2.00000, 1.0000, 2.0000),
    _known("relu", 2.0, 0.1, 1.0000, 1.00000, 0.9655, 1.0000),
    _known("leaky_relu", 2.0 / 1.01, 0.0, 1.0000, 1.00000, 1.0000, 1.0000, negative_slope=0.1),
    _known("tanh", 1.0, 0.0, 0.9999, 0.84173, 1.0174, 0.8803),
    _known("tanh", 0.64, 0.0, 0.6400, 0.59808, 1.0074, 0.6122),
    _known("tanh", 1.761, 0.05, 1.0000, 0.95976, 1.0234, 0.9735),
    _known("tanh", 2.5, 0.05, 1.1335, 1.09953, 1.1530, 1.1111),
    _known("tanh", 4.0, 0.05, 1.3424, 1.31552, 1.3594, 1.3247),
    _known("erf", 1.376, 0.05, 1.0000, 0.96578, 1.0223, 0.9775),
    _known("sigmoid", 1.0, 0.0, 0.0557, 0.05505, 0.0590, 0.0553),
    _known("sigmoid", 16.0, 0.0, 0.3989, 0.38859, 0.4097, 0.3921),
    _known("sigmoid", 113.0, 0.0, 1.0457, 1.02297, 1.0674, 1.0308),
    _known("gelu", 1.5335**2, 0.0, 0.5879, 1.19275, 1.0395, 1.1922),
    _known("elu", 1.23, 0.0, 1.0085, 0.91356, 1.0202, 0.9386),
    _known("selu", 1.0, 0.0, 1.0716, 1.07157, 1.0716, 1.0716),
    _known("silu", 2.0, 0.1, 0.5956, 0.67516, 0.7776, 0.6467),
    _known("softplus", 1.0, 0.0, 0.2887, 0.28917, 0.2915, 0.2890),
]

FURTHER = [
    Setting("identity", 0.8, 0.0),
    Setting("relu6", 2.2, 0.3),
    Setting("celu", 1.3, 0.05, (("alpha", 0.5),)),
    Setting("gelu_tanh", 1.8, 0.1),
    Setting("mish", 1.7, 0.05),
    Setting("softsign", 3.0, 0.05),
    Setting("hardtanh", 1.5, 0.02),
    Setting("hardsigmoid", 64.0, 0.0),
    Setting("hardswish", 1.8, 0.2),
    Setting("logsigmoid", 1.4, 0.1),
    Setting("tanhshrink", 1.5, 0.5),
    Setting("softshrink", 1.6, 0.5),
    Setting("tanh", 9.0, 0.0),
    Setting("prelu", 1.6, 0.05),
    Setting("rrelu", 1.9, 0.0),
    Setting("erf", 3.0, 0.2),
    Setting("sigmoid", 4.0, 0.5),
    Setting("silu", 1.2, 0.3),
    Setting("tanh", 1.2, 0.1, weights="orthogonal"),
    Setting("relu", 1.0 / 3.0, 0.0, weights="uniform"),  # torch's default for a linear layer
]
