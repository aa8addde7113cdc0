"""What a relevance database was made with, so that nobody continues it with something else."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import onnx_ir as ir

from graphlrp.explainer import Explainer
from graphlrp.stores.columns import Storage
from graphlrp.stores.targets import Targets

SHOWN = 60
"""Characters of a setting that an error message shows."""


def settings_of(explainer: Explainer, targets: Targets, storage: Storage, *, keep_inputs: bool, labelled: bool) -> dict[str, Any]:
    """Everything that decides what numbers the file holds, as JSON knows it."""
    import graphlrp

    plan, chosen = explainer.plan, explainer.settings
    settings = {
        "GraphLRP": graphlrp.__version__,
        "model": model_digest(explainer.canonical),
        "explained": list(plan.explained),
        "output": plan.output,
        "composite": plan.composite,
        "policies": plan.policies,
        "rules": hashlib.sha256(json.dumps([[row.node, row.rule] for row in plan.rows]).encode()).hexdigest(),
        "class axis": chosen.class_axis,
        "restrict": {name: list(map(int, channels)) for name, channels in chosen.restrict.items()},
        "ledger": bool(chosen.ledger),
        "computed in": explainer.dtype,
        "target": targets.text,
        "labels": labelled,
        "dtype": storage.dtype,
        "compression": storage.compression,
        "inputs kept": keep_inputs,
    }
    # As it comes back from the file.
    result: dict[str, Any] = json.loads(json.dumps(settings))
    return result


def model_digest(model: ir.Model) -> str:
    """The sha256 of a model, structure and weights, which is changed on the way: give a copy."""
    digest = hashlib.sha256()
    for name, value in sorted(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None:
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
            digest.update(tensor.tobytes())
    # Weights may be too large for a protobuf message.
    model.graph.initializers.clear()
    digest.update(ir.to_proto(model).SerializeToString(deterministic=True))
    return digest.hexdigest()


def differences(there: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between two settings, in words; empty if nothing does."""
    names = [name for name in dict.fromkeys([*there, *now]) if there.get(name) != now.get(name)]
    if "composite" in names:
        # Which says it better.
        names = [name for name in names if name != "rules"]
    return "; ".join(f"{name} was {_shown(there.get(name))}, now {_shown(now.get(name))}" for name in names)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 4] + " ..."
