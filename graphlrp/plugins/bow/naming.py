"""Names of what the steps of a Bag-of-Words pipeline compute: the step's, and what the value is."""

from __future__ import annotations

import onnx_ir as ir

from graphlrp.plugins.estimators.building import Builder


def name_value(builder: Builder, value: ir.Value, what: str) -> ir.Value:
    """Name a value and its node ``<step>/<what>``, as in ``bagofwords/words``; names of steps are those of the pipeline.

    ``report`` and selectors of rules ask for values and nodes by these names, so they must not change from release to release.
    """
    value.name = "/".join([*builder.path, what])
    node = value.producer()
    if node is not None:
        node.name = value.name
    return value
