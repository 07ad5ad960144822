"""Diagnosis at initialisation: one batch forward and back, theory beside measurement, and the verdict to expect."""

from gradscope.probe.probe import LayerProbe, Predicted, Probe, probe
from gradscope.probe.recurrence import TimeProbe

__all__ = ["LayerProbe", "Predicted", "Probe", "TimeProbe", "probe"]
