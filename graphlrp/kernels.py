"""Kernels as objects, and machines declared from arrays.

Every kernel can be given to scikit-learn, ``SVC(kernel=graphlrp.kernels.HistogramIntersection())``; sums, weights and columns
make new ones: ``0.5 * RBF(2.0).on(range(100)) + Linear().on(range(100, 120))``.
"""

from graphlrp.plugins.kernels.declared import SVDD, Machine
from graphlrp.plugins.kernels.decomposable import DecomposableMapping
from graphlrp.plugins.kernels.kernels import Combination, Kernel
from graphlrp.plugins.kernels.products import RBF, Linear, Polynomial, RandomFourier, Sigmoid, StatisticKernel
from graphlrp.plugins.kernels.sums import (
    AdditiveChi2,
    AdditiveKernel,
    ExponentialChi2,
    ExponentialKernel,
    Hellinger,
    HistogramIntersection,
    Laplacian,
)

__all__ = [
    "RBF",
    "SVDD",
    "AdditiveChi2",
    "AdditiveKernel",
    "Combination",
    "DecomposableMapping",
    "ExponentialChi2",
    "ExponentialKernel",
    "Hellinger",
    "HistogramIntersection",
    "Kernel",
    "Laplacian",
    "Linear",
    "Machine",
    "Polynomial",
    "RandomFourier",
    "Sigmoid",
    "StatisticKernel",
]
