"""Adapters: explainers as Quantus and Captum call them; neither has to be installed."""

from graphlrp.adapters.attribution import Attribution, captum
from graphlrp.adapters.explain_function import quantus

__all__ = ["Attribution", "captum", "quantus"]
