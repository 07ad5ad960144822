"""What mean-field theory predicts of a network at initialisation, in numpy alone."""

from gradscope.theory.critical import CriticalPoint, critical_gain, critical_point

__all__ = ["CriticalPoint", "critical_gain", "critical_point"]
