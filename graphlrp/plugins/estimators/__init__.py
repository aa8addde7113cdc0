"""Estimators of scikit-learn and declared machines as sources: lowered to the same graph of mappings as networks."""

from __future__ import annotations

from graphlrp.plugins.estimators.frontend import convert_estimator
from graphlrp.plugins.kernels.declared import SVDD, Machine
from graphlrp.plugins.spec import RegisterFrontend, hookimpl


@hookimpl
def register_frontends(register: RegisterFrontend) -> None:
    """Register everything that scikit-learn calls an estimator, and declared machines."""
    for source in ("sklearn.base.BaseEstimator", Machine, SVDD):
        register(source, convert_estimator)
