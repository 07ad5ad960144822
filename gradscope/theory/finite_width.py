"""How far a net of finite width strays from the infinite one: noise of order 1/width, carried from layer to layer.

Both the log length of the signal and the log gain of the squared gradient get Gaussian noise in every layer. For an
activation the gain's noise is that of sum_j phi'(z_j)^2 g_j^2 with Gaussian g (relative variance (3k - 1)/n with
k = E[phi'^4]/E[phi'^2]^2: 5/n for ReLU, 2/n for linear; Hanin 2018), and the length's that of the mean of phi(z_j)^2; a
length that is off then changes the gains of all layers after it. To first order this is a linear system, so the variance of
any stretch of layers follows by composing two-variable responses.

Not modelled: the noise of a residual stream's units persists from block to block (measured spreads of an unscaled
ReLU stack are a third larger), and where an unstable fixed point blows length noise up the first order is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.theory.meanfield import Moments


def largest_gaussian_singular_value(depth: int) -> float:
    """The squared largest singular value of a product of ``depth`` wide Gaussian matrices with sigma_w = 1.

    (depth + 1)^(depth + 1) / depth^depth, the edge of the Fuss-Catalan law (Penson and Zyczkowski 2011); a product of
    orthogonal matrices has 1 (Saxe 2013). At finite width the product's own norm fluctuates by 2 depth / width.
    """
    return float((depth + 1.0) * ((depth + 1.0) / depth) ** depth)


@dataclass(frozen=True)
class Response:
    """How a stretch of layers answers to a log length that is off by x.

    The log length after it is off by ``carry`` x + noise, the log gain of the squared gradient through it by ``tilt`` x +
    noise. The noises have these variances and ``covariance``, and the means ``length_drift`` and ``gain_drift`` (the mean of a
    logarithm lies below the logarithm of the mean).
    """

    carry: float = 1.0
    tilt: float = 0.0
    length_variance: float = 0.0
    gain_variance: float = 0.0
    covariance: float = 0.0
    length_drift: float = 0.0
    gain_drift: float = 0.0

    def then(self, after: Response) -> Response:
        """The response of this stretch followed, on the way to the output, by ``after``."""
        return Response(
            self.carry * after.carry,
            self.tilt + after.tilt * self.carry,
            after.carry**2 * self.length_variance + after.length_variance,
            self.gain_variance
            + 2.0 * after.tilt * self.covariance
            + after.tilt**2 * self.length_variance
            + after.gain_variance,
            after.carry * (self.covariance + after.tilt * self.length_variance) + after.covariance,
            after.carry * self.length_drift + after.length_drift,
            self.gain_drift + after.tilt * self.length_drift + after.gain_drift,
        )

    @classmethod
    def of_length(cls, variance: float) -> Response:
        """Nothing but noise of this variance in the log length."""
        return cls(length_variance=variance, length_drift=-0.5 * variance)

    def beside_identity(self, share: float, gain: float, width: int) -> Response:
        """The response of h + F(h), where this is F's: ``share`` of the sum's length is F's, ``gain`` its squared gain.

        The random products of stream and branch, and of the gradients through them, vary by 4/width.
        """
        g = gain / (1.0 + gain)
        gain_variance = g**2 * self.gain_variance + 4.0 * g * (1.0 - g) / width
        length_variance = share**2 * self.length_variance + 4.0 * share * (1.0 - share) / width
        return Response(
            (1.0 - share) + share * self.carry,
            g * self.tilt,
            length_variance,
            gain_variance,
            share * g * self.covariance,
            share * (self.length_drift + 0.5 * self.length_variance) - 0.5 * length_variance,
            g * (self.gain_drift + 0.5 * self.gain_variance) - 0.5 * gain_variance,
        )


def activation_response(moments: Moments, width: int, length_noise: float = 2.0) -> Response:
    """The response of phi on ``width`` Gaussian units; the noise of the weights that lead on is counted with the weights.

    ``length_noise`` / width is the relative variance of the units' own mean square: 2 where they are free, 0 after a norm or
    an orthogonal matrix, which leaves only what phi's moments vary by at fixed mean square.
    """
    carry, tilt = float(np.mean(moments.carry)), float(np.mean(moments.tilt))
    missing = 2.0 - length_noise  # times products of carry and tilt: what the units' own mean square would explain
    length_variance = (float(np.mean(moments.square_variance)) - missing * carry**2) / width
    gain_variance = (3.0 * float(np.mean(moments.slope_variance)) - missing * tilt**2) / width
    covariance = (float(np.mean(moments.covariance)) - missing * carry * tilt) / width
    return Response(carry, tilt, length_variance, gain_variance, covariance, -0.5 * length_variance, -0.5 * gain_variance)
