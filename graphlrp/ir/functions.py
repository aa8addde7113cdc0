"""Several nodes as one: operators whose bodies are model-local functions.

A node whose operator is a model-local function is one node to everything that reads the graph, and so one mapping; ONNX
Runtime runs its body. Three passes make such nodes or keep them:

1. ``InlineFunctions`` keeps the functions that a mapping is registered for and replaces the others by their bodies;
2. ``EmitOperators`` gives a body to operators that ONNX does not define, by their mapping's ``forward_messages``;
3. ``Fusion`` makes one node of every occurrence of a pattern.

Bodies differ from node to node (by attributes, shapes, constants), so every node calls an overload of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from graphlrp.errors import PluginError
from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import Facts
from graphlrp.ir.graph import mapping_failed
from graphlrp.ir.passes.standard import fold_constants, infer_shapes


class Operator(Protocol):
    """What these passes ask of a mapping class."""

    @classmethod
    def emits_operator(cls) -> bool:
        """Whether the class has ``forward_messages``."""

    def lower(self, node: ir.Node, facts: Facts) -> Any:
        """The mapping of a node."""


Table = Mapping[tuple[str, str], Operator]

OWN = "graphlrp"
"""Domain of the operators of pipelines."""

RUNTIME_DOMAINS = ("com.microsoft", "com.ms", "ai.onnx")
"""Domains of ONNX Runtime's own operators, which need no body to run."""


class InlineFunctions:
    """Replace calls of model-local functions by their bodies, except of those in ``table``."""

    __name__ = "inline functions"

    def __init__(self, table: Table) -> None:
        self.table = table

    def __call__(self, model: ir.Model) -> str | None:
        """Inline what no mapping is registered for."""
        if not model.functions:
            return None
        self._drop_own(model)
        called = {node.op_identifier() for node in model.graph}
        kept = sorted({identifier[:2] for identifier in called & set(model.functions) if identifier[:2] in self.table})
        count = sum(identifier[:2] not in kept for identifier in model.functions)
        common.InlinePass(criteria=lambda function: (function.domain, function.name) not in kept)(model)
        for identifier in [i for i in model.functions if i[:2] not in kept]:
            del model.functions[identifier]
        for node in model.graph:
            if node.op_identifier() in model.functions and model.functions[node.op_identifier()].attributes:
                _specialise(model, node)
        used = {node.op_identifier() for node in model.graph}
        for identifier in [i for i in model.functions if i not in used]:
            del model.functions[identifier]
        notes = [f"{count} model-local function(s) inlined"] if count else []
        notes += [f"kept as mappings: {', '.join(f'{domain}.{name}' for domain, name in kept)}"] if kept else []
        return "; ".join(notes) or None

    def _drop_own(self, model: ir.Model) -> None:
        """Bodies of our own operators are emitted anew, in the precision that is asked for now."""
        for node in model.graph:
            key = (node.domain, node.op_type)
            if node.domain == OWN and node.op_identifier() in model.functions and key in self.table:
                if self.table[key].emits_operator():
                    model.functions.pop(node.op_identifier())
                    node.overload = ""


class EmitOperators:
    """Give operators that ONNX does not define the body that their mapping's ``forward_messages`` emits.

    Postcondition: ONNX Runtime can run the model, as far as every such operator has a mapping that emits it.
    """

    __name__ = "emit operators"

    def __init__(self, table: Table, dtype: ir.DataType) -> None:
        self.table, self.dtype = table, dtype

    def __call__(self, model: ir.Model) -> str | None:
        """Emit bodies in the order of the data flow, for the shapes of later nodes follow from earlier bodies."""
        unknown = [node for node in model.graph if lacks_body(model, node, self.table)]
        pending = [node for node in unknown if self._mapping(node).emits_operator()]
        silent = [node for node in unknown if node not in pending and not node.domain.startswith(RUNTIME_DOMAINS)]
        if silent:
            lines = [f"  {n.name}: {n.domain}.{n.op_type} ({self._mapping(n).__name__})" for n in silent]  # type: ignore[attr-defined]
            raise PluginError(
                "neither ONNX nor ONNX Runtime knows these operators, and their mappings do not emit them:\n"
                + "\n".join(lines)
                + "\nGive the mappings a method forward_messages(self, op), or the model a function for the operator."
            )
        if not pending:
            return None
        operators = sorted({f"{node.domain}.{node.op_type}" for node in pending})
        count = len(pending)
        while pending:
            infer_shapes(model)
            ready = [n for n in pending if all(v is None or v.shape is not None for v in n.inputs)] or pending[:1]
            for node in ready:
                self._emit(model, node)
            pending = [node for node in pending if node not in ready]
        infer_shapes(model)
        fold_constants(model)
        return f"{count} node(s) got a body from their plugin: {', '.join(operators)}"

    def _mapping(self, node: ir.Node) -> Operator:
        return self.table[node.domain, node.op_type]

    def _emit(self, model: ir.Model, node: ir.Node) -> None:
        label = f"{node.domain}.{node.op_type} node {node.name!r}"
        formals = [ir.Value(name=f"x{index}") for index in range(len(node.inputs))]
        for formal, value in zip(formals, node.inputs, strict=True):
            if value is not None:
                formal.type, formal.shape, formal.const_value = value.type, value.shape, value.const_value
        stand_in = ir.Node(
            node.domain,
            node.op_type,
            [None if value is None else formal for formal, value in zip(formals, node.inputs, strict=True)],
            list(node.attributes.values()),
            num_outputs=len(node.outputs),
            name=node.name,
        )
        body = ir.Graph(formals, [], nodes=[], opset_imports={"": model.opset_imports[""]}, name=node.name)
        variable = [formal for formal in stand_in.inputs if formal is not None and formal.const_value is None]
        op = Emitter(body, ledger=False, options={})
        op.dtype = self.dtype
        mapping = self._mapping(node)
        try:
            emitted = mapping.lower(stand_in, Facts(ir.Graph([], [], nodes=[]), variable)).forward_messages(op)
        except Exception as error:
            raise mapping_failed(node, mapping, "forward_messages", error) from error
        if any(value in stand_in.outputs for inner in body for value in inner.inputs):
            raise PluginError(f"{label}: forward_messages uses self.output, which is what it is about to emit")
        outputs = list(emitted) if isinstance(emitted, (list, tuple)) else [emitted]
        if len(outputs) != len(node.outputs) or not all(isinstance(value, ir.Value) for value in outputs):
            raise PluginError(
                f"{label}: forward_messages must return the {len(node.outputs)} emitted output(s) of the node, not {emitted!r}"
            )
        outputs = [op.Identity(value) if value.producer() is None else value for value in outputs]
        body.outputs.extend(outputs)
        for index in range(len(formals)):
            stand_in.replace_input_with(index, None)
            formals[index].const_value = None
        spell_constants(body)
        call(model, node, body)
        for value, output in zip(node.outputs, outputs, strict=True):
            value.type, value.shape = output.type, output.shape


class Fusion:
    """Pass that makes one node of every occurrence of a pattern, so that one mapping explains it as a whole.

        def squeeze_excitation(op, x, w1, b1, w2, b2):
            gate = op.Sigmoid(op.Conv(op.Relu(op.Conv(op.GlobalAveragePool(x), w1, b1)), w2, b2))
            return op.Mul(x, gate)

        Fusion(squeeze_excitation, ("com.acme", "SqueezeExcitation"))

    The node's inputs are the pattern's parameters without defaults, in their order; its outputs are what it returns. It carries
    the name of the last one that it replaces. Operands of Add and Mul may stand in either order. An occurrence whose inner
    values are used elsewhere stays as it is.

    Args:
        pattern: a function of the rewriter's ``op`` and the values that enter, which returns what leaves; or several, for the
            spellings of one layer.
        operator: (domain, operator) of the node, which a mapping is to be registered for.
        condition: ``condition(context, **values)`` that says whether an occurrence counts, if the pattern alone does not tell.
        name: what the plan calls the pass, by default after the operator.

    Raises:
        PluginError: a pattern cannot be read as one.
    """

    def __init__(
        self,
        pattern: Callable[..., Any] | Sequence[Callable[..., Any]],
        operator: tuple[str, str],
        condition: Callable[..., bool] | None = None,
        name: str | None = None,
    ) -> None:
        self.operator = operator
        self.__name__ = name or f"fuse {operator[0]}.{operator[1]}"
        patterns = [pattern] if callable(pattern) else list(pattern)
        self.__module__ = getattr(patterns[0], "__module__", type(self).__module__)  # whom errors are told of
        self._rules = RewriteRuleSet([self._rule(spelling, condition) for spelling in patterns], commute=True)

    def _rule(self, pattern: Callable[..., Any], condition: Callable[..., bool] | None) -> RewriteRule:
        # The rewriter takes every parameter for a value, also those that only carry something into the pattern.
        signature = inspect.signature(pattern)
        given = [parameter for parameter in signature.parameters.values() if parameter.default is parameter.empty]
        parameters = [parameter.name for parameter in given[1:]]
        domain, operator = self.operator

        def values_only(*arguments: Any) -> Any:
            return pattern(*arguments)

        values_only.__signature__ = signature.replace(parameters=given)  # type: ignore[attr-defined]

        def replacement(op: Any, **values: Any) -> Any:
            return getattr(op, operator)(*(values[name] for name in parameters), _domain=domain)

        try:
            return RewriteRule(values_only, replacement, condition, as_function=True, name=self.__name__)
        except Exception as error:
            label = getattr(pattern, "__qualname__", repr(pattern))
            raise PluginError(f"Fusion: {label} is no pattern: {type(error).__name__}: {error}") from error

    def __call__(self, model: ir.Model) -> str:
        """Fuse all occurrences."""
        before = set(model.graph)
        self._rules.apply_to_model(model)
        taken = {node.name for node in model.graph}
        fused = [node for node in model.graph if node not in before and (node.domain, node.op_type) == self.operator]
        for node in fused:
            last = list(model.functions[node.op_identifier()])[-1].name
            if last and last not in taken:
                taken.add(last)
                node.name = last
        return f"{len(fused)} occurrence(s) became one node each" if fused else "no occurrence found"


def lacks_body(model: ir.Model, node: ir.Node, table: Table) -> bool:
    """Whether a node has a mapping, but neither ONNX nor the model says what its operator computes."""
    return (
        (node.domain, node.op_type) in table
        and node.op_identifier() not in model.functions
        and not onnx.defs.has(node.op_type, "" if node.domain == "ai.onnx" else node.domain)
    )


def call(model: ir.Model, node: ir.Node, body: ir.Graph, attributes: Mapping[str, ir.Attr] | None = None) -> None:
    """Make ``body`` what a node computes: a model-local function that only this node calls.

    ``attributes`` are what the function declares; the body need not refer to them.
    """
    overload = node.name or node.outputs[0].name or ""
    while (node.domain, node.op_type, overload) in model.functions:
        overload += "'"
    node.overload = overload
    function = ir.Function(node.domain, node.op_type, overload, graph=body, attributes=dict(attributes or {}))
    model.functions[function.identifier()] = function
    model.opset_imports.setdefault(node.domain, 1)


def _specialise(model: ir.Model, node: ir.Node) -> None:
    """Give a node a copy of its function with the node's attributes filled in, which conversion of operator sets would lose."""
    function = model.functions[node.op_identifier()]
    body = function.clone().graph
    for inner in body.all_nodes():
        for name, attribute in list(inner.attributes.items()):
            if not attribute.is_ref():
                continue
            reference = str(attribute.ref_attr_name)
            given = node.attributes.get(reference) or function.attributes.get(reference)
            del inner.attributes[name]
            if given is not None and given.value is not None:
                inner.attributes[name] = ir.Attr(name, given.type, given.value)
    call(model, node, body, function.attributes)


def spell_constants(body: ir.Graph) -> None:
    """Initializers as ``Constant`` nodes, for functions hold none."""
    for value in list(body.initializers.values()):
        assert value.const_value is not None
        node = ir.Node("", "Constant", [], [ir.AttrTensor("value", value.const_value)], name=f"{value.name}/constant")
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = value.name, value.type, value.shape
        del body.initializers[str(value.name)]
        value.replace_all_uses_with(node.outputs[0])
        first = next(iter(body), None)
        if first is None:
            body.append(node)
        else:
            body.insert_before(first, node)
