"""The built-in family of kernel machines: kernels, machines declared from arrays, and the mappings that explain them."""

from __future__ import annotations

from graphlrp.plugins.kernels.decomposable import KernelDistance, PiecewiseLinear
from graphlrp.plugins.kernels.machine import KernelMachine
from graphlrp.plugins.kernels.onnxml import lower_classical_operators
from graphlrp.plugins.kernels.preprocessing import Function, Normalizer, SampledChi2, Scaler, SignedRoot
from graphlrp.plugins.spec import RegisterMapping, RegisterPass, hookimpl

MAPPINGS = (KernelMachine, KernelDistance, PiecewiseLinear, Scaler, Normalizer, SignedRoot, SampledChi2, Function)


@hookimpl
def register_mappings(register: RegisterMapping) -> None:
    """Register the built-in family of kernel machines."""
    for mapping in MAPPINGS:
        register(mapping)


@hookimpl
def register_passes(register: RegisterPass) -> None:
    """Register what lowers operators of ``ai.onnx.ml`` to those of this family."""
    register(lower_classical_operators, early=True)
