"""What scikit-learn calls its kernels, as kernels that know their messages."""

from __future__ import annotations

import functools
from typing import Any

from sklearn.metrics import pairwise

from graphlrp.errors import ModelError
from graphlrp.plugins.estimators.building import Builder
from graphlrp.plugins.kernels.kernels import Kernel
from graphlrp.plugins.kernels.products import RBF, Linear, Polynomial, Sigmoid
from graphlrp.plugins.kernels.sums import AdditiveChi2, ExponentialChi2, Laplacian

FUNCTIONS = {
    pairwise.linear_kernel: "linear",
    pairwise.rbf_kernel: "rbf",
    pairwise.polynomial_kernel: "polynomial",
    pairwise.sigmoid_kernel: "sigmoid",
    pairwise.laplacian_kernel: "laplacian",
    pairwise.chi2_kernel: "chi2",
    pairwise.additive_chi2_kernel: "additive_chi2",
    pairwise.cosine_similarity: "cosine",
}
"""Functions of ``sklearn.metrics.pairwise`` that may be given as callables."""


def kernel_of(builder: Builder, given: Any, estimator: Any, width: int) -> tuple[Kernel, bool]:
    """The kernel of an estimator, and whether samples have to be brought to length one first (cosine similarity).

    Args:
        builder: says where we are.
        given: a name, one of our kernels, or a function of ``sklearn.metrics.pairwise``.
        estimator: has the parameters ``gamma``, ``degree`` and ``coef0``.
        width: number of features.

    Raises:
        ModelError: precomputed, unknown or a callable that nothing is known of.
    """
    if isinstance(given, Kernel):
        return given, False
    parameters: dict[str, Any] = {}
    if isinstance(given, functools.partial) and given.func in FUNCTIONS and not given.args:
        parameters, given = dict(given.keywords), given.func
    if callable(given):
        if given not in FUNCTIONS:
            raise ModelError(
                f"{builder.where}: the kernel {getattr(given, '__name__', given)!r} is a callable whose gradient nobody knows;"
                " use one of graphlrp.kernels, or subclass graphlrp.kernels.Kernel with its messages or its gradient"
            )
        name, own = FUNCTIONS[given], parameters
    else:
        name = {"poly": "polynomial", "chi_squared": "chi2"}.get(given, given)
        own = {key: getattr(estimator, key, None) for key in ("gamma", "degree", "coef0")}
        own.update(getattr(estimator, "kernel_params", None) or {})
        if hasattr(estimator, "_gamma"):
            own["gamma"] = estimator._gamma  # what "scale" and "auto" came to
    gamma = own.get("gamma")
    wide = 1.0 / width if gamma is None else float(gamma)
    degree = 3 if own.get("degree") is None else int(own["degree"])
    coef0 = 1.0 if own.get("coef0") is None else float(own["coef0"])
    if name == "linear":
        return Linear(), False
    if name == "cosine":
        return Linear(), True
    if name == "rbf":
        return RBF(wide), False
    if name == "laplacian":
        return Laplacian(wide), False
    if name == "polynomial":
        return Polynomial(degree, wide, coef0), False
    if name == "sigmoid":
        return Sigmoid(wide, coef0), False
    if name == "chi2":
        return ExponentialChi2(1.0 if gamma is None else float(gamma)), False
    if name == "additive_chi2":
        return AdditiveChi2(distance=True), False
    why = "keeps no support vectors to explain by" if name == "precomputed" else "is not known"
    raise ModelError(
        f"{builder.where}: the kernel {given!r} {why}; give one of graphlrp.kernels, a name such as 'rbf', or declare the machine"
        " from its arrays: graphlrp.kernels.Machine"
    )
