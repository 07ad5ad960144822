"""What mean-field theory predicts of a network at initialisation, in numpy alone."""

from gradscope.theory.activations import Nonlinearity, of_torch
from gradscope.theory.convolution import Axis, Convolution, Mean
from gradscope.theory.critical import CriticalPoint, critical_gain, critical_point, level_gain
from gradscope.theory.layers import Activation, Dropout, Layer, Linear, Normalise, Residual
from gradscope.theory.meanfield import FixedPoint, fixed_points, flat_share, limit_length, mean_square_slope
from gradscope.theory.prediction import LayerPrediction, Prediction, mlp, predict
from gradscope.theory.recurrent import RecurrentStep, gru_step, lstm_step, recurrent_step, through_time

__all__ = [
    "Activation",
    "Axis",
    "Convolution",
    "CriticalPoint",
    "Dropout",
    "FixedPoint",
    "Layer",
    "LayerPrediction",
    "Linear",
    "Mean",
    "Nonlinearity",
    "Normalise",
    "Prediction",
    "RecurrentStep",
    "Residual",
    "critical_gain",
    "critical_point",
    "fixed_points",
    "flat_share",
    "gru_step",
    "level_gain",
    "limit_length",
    "lstm_step",
    "mean_square_slope",
    "mlp",
    "of_torch",
    "predict",
    "recurrent_step",
    "through_time",
]
