"""Ratios between layers, and of updates to weights: what verdicts rest on, free of the loss's scale.

Notation of mean-field theory (Schoenholz et al. 2017): delta_l is the gradient of the loss with respect to the output of
station l, z_l that output, L the last station; norms are Frobenius over the batch.
"""

from __future__ import annotations

import numpy as np

from gradscope.record.grid import Bools, Floats
from gradscope.record.manifest import enclosing
from gradscope.record.run import Run
from gradscope.signals.profiles import Profile, by_owner, depth_profile, parameter_profile, trunk


def divide(above: Floats, below: Floats, present: Bools) -> tuple[Floats, Bools]:
    """``above / below`` and where it has a value. 0/0 has none (absent); x/0 is infinite; what is not finite stays so."""
    there = present & ~((above == 0.0) & (below == 0.0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        return np.where(there, above / below, np.nan), there


def backward_ratio(run: Run) -> Profile:
    """Gamma_l = ||delta_l|| / ||delta_L||: how much of the output's gradient reaches each station.

    1 at the last station. It falls towards the input where gradients vanish and grows where they explode.
    """
    return _against(depth_profile(run, "backward_norm"), -1, "backward_ratio")


def predicted_backward_ratio(run: Run) -> Profile:
    """The same as mean-field theory predicted it before the first step, one row at step 0; no value where theory has none."""
    layers = tuple(layer.name for layer in trunk(run))
    known = run.manifest.theory
    values = np.array([[known.get(name, np.nan) for name in layers]], np.float64).reshape(1, len(layers))
    present = np.array([[name in known for name in layers]], bool).reshape(1, len(layers))
    return Profile("predicted_backward_ratio", np.zeros(1, np.int64), layers, values, present, layers[-1] if layers else None)


def hidden_backward_ratio(run: Run) -> Profile:
    """The same against the last hidden station, so that the scale of the read-out layer does not enter.

    Holds the stations up to that one. With fewer than two stations there is no hidden one: no layers.
    """
    return _against(_first(depth_profile(run, "backward_norm"), -1), -1, "hidden_backward_ratio")


def forward_ratio(run: Run) -> Profile:
    """Phi_l = ||z_l|| / ||z_L||: the signal at each station against the last one's."""
    return _against(depth_profile(run, "forward_norm"), -1, "forward_ratio")


def forward_reach(run: Run) -> Profile:
    """||z_l|| / ||z_1||: how much of the first station's signal reaches each one, as Gamma is for the gradient's way back."""
    return _against(depth_profile(run, "forward_norm"), 0, "forward_reach")


def weight_gradient_ratio(run: Run) -> Profile:
    """The weight gradient by station, over the last one's: of all matrices from behind the station before up to this one.

    A weight gradient is the product of the signal that enters and the gradient that comes back. So in a net where both die
    together, from either end, these ratios are level.
    """
    stations, owners = trunk(run), {}
    orders = [station.order for station in stations]
    layers = {layer.name: layer.order for layer in run.catalogue.layers}
    for parameter in run.catalogue.parameters:
        at = int(np.searchsorted(orders, layers.get(enclosing(parameter.layer, layers) or "", len(layers))))
        if parameter.is_matrix and at < len(stations):
            owners[parameter.name] = stations[at].name
    grid = run.grid("parameters", "grad_norm")
    norms = by_owner(grid.only(e for e in grid.entities if e[0] in owners), owners, "grad_norm")
    return _against(norms, -1, "weight_gradient_ratio")


def sensitivity(run: Run) -> Profile:
    """kappa_l = Gamma_l Phi_l, the relative sensitivity of the output to station l (Philipp et al. 2017, the GSC).

    Unchanged when a layer is rescaled, or the loss.
    """
    back, ahead = backward_ratio(run), forward_ratio(run)
    present = back.present & ahead.present
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        values = np.where(present, back.values * ahead.values, np.nan)
    return Profile("sensitivity", back.steps, back.layers, values, present, back.reference)


def backward_gain(run: Run) -> Profile:
    """How much of the gradient each layer passes on: ||delta_(l-1)|| / ||delta_l||, of layer l.

    The product over layers is Gamma of the first station. The first station's own gain needs the gradient at the
    network's input; it is absent where that was not recorded.
    """
    norms, inputs = depth_profile(run, "backward_norm"), depth_profile(run, "input_backward_norm")
    before = np.concatenate([inputs.values[:, :1], norms.values[:, :-1]], axis=1)
    there = np.concatenate([inputs.present[:, :1], norms.present[:, :-1]], axis=1)
    values, present = divide(before, norms.values, there & norms.present)
    return Profile("backward_gain", norms.steps, norms.layers, values, present)


def forward_gain(run: Run) -> Profile:
    """How much each layer changes the signal: ||z_l|| / ||z_(l-1)||. Absent at the first station."""
    norms = depth_profile(run, "forward_norm")
    before = np.concatenate([np.full_like(norms.values[:, :1], np.nan), norms.values[:, :-1]], axis=1)
    there = np.concatenate([np.zeros_like(norms.present[:, :1]), norms.present[:, :-1]], axis=1)
    values, present = divide(norms.values, before, there & norms.present)
    return Profile("forward_gain", norms.steps, norms.layers, values, present)


def update_ratio(run: Run) -> Profile:
    """||change of a layer's matrices in the step|| / ||the matrices after it||; absent where the weights are exactly 0.

    About 1e-3 is a rule of thumb for a network that learns well with a plain optimiser (Karpathy, CS231n notes).
    """
    updates, weights = parameter_profile(run, "update_norm"), parameter_profile(run, "weight_norm")
    values, present = divide(updates.values, weights.values, updates.present & weights.present & (weights.values != 0.0))
    return Profile("update_ratio", updates.steps, updates.layers, values, present)


def noise_floor(run: Run) -> Profile:
    """What chance alone makes of a level gradient at this width: the factor, above 1, that no ratio must be under to count.

    exp(1.5 sqrt(5 sum 1/n)), three standard deviations of the log norm, with the sum over the hidden stations from l to
    the last (Hanin 2018; Hanin and Nica 2020: the variance of ln ||J u||^2 is 5 sum 1/n for ReLU at initialisation).
    One row. A station of unknown width adds nothing; without any known width nothing is present.
    """
    hidden = trunk(run)[:-1]
    widths = np.array([layer.width or np.inf for layer in hidden], float)
    beta = 5.0 * np.cumsum((1.0 / widths)[::-1])[::-1]
    present = np.full((1, len(hidden)), bool(np.isfinite(widths).any()))
    values = np.where(present, np.exp(1.5 * np.sqrt(beta))[None, :], np.nan)
    return Profile("noise_floor", np.zeros(1, np.int64), tuple(layer.name for layer in hidden), values, present)


def geometric_mean(values: Floats) -> float | None:
    """The geometric mean of the finite, positive values: the gain of a typical layer. None without any."""
    usable = values[np.isfinite(values) & (values > 0.0)]
    return float(np.exp(np.log(usable).mean())) if usable.size else None


def _first(profile: Profile, stop: int) -> Profile:
    return Profile(profile.signal, profile.steps, profile.layers[:stop], profile.values[:, :stop], profile.present[:, :stop])


def _against(profile: Profile, at: int, signal: str) -> Profile:
    """Every station of a profile over the one at position ``at``."""
    if not profile.layers:
        return Profile(signal, profile.steps, (), profile.values, profile.present)
    below, there = profile.values[:, [at]], profile.present[:, [at]]
    values, present = divide(profile.values, np.broadcast_to(below, profile.values.shape), profile.present & there)
    return Profile(signal, profile.steps, profile.layers, values, present, profile.layers[at])
