"""The contract of a mapping: what a plugin writes for an operator.

A mapping is a node of the graph, bound to the facts known about its inputs. It says how each output component j
aggregates messages z_ij of input components i, and emits the relevance messages R_{i←j} as ONNX nodes.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.errors import ModelError, RuleError
from graphlrp.ir.emitter import Emitter
from graphlrp.ir.facts import UNBOUNDED, Bounds, Facts
from graphlrp.rules.base import Decomposition, Rule
from graphlrp.rules.linear import Epsilon, Gradient, Pass
from graphlrp.rules.weights import EqualWeight, Weight

Messages = Sequence[ir.Value | None]
"""One message per input of the node, shaped like it; None where no relevance flows."""


class Mapping:
    """A node of the DAG: how each output component j aggregates messages z_ij from input components i.

    Class attributes:
        operators: the operators it is registered for, ``(("", "Conv"),)`` or ``(("com.acme", "Maxout"),)``.
        family: what composites select it by.
        native: its own messages in a few words, for the plan.
        note: what else the plan should say of it.
        policies: names of policies it reads with ``policy()``, each with its choices, the first being the default.
    """

    operators: ClassVar[tuple[tuple[str, str], ...]] = ()
    family: ClassVar[str] = "other"
    native: ClassVar[str] = "own messages"
    note: ClassVar[str] = ""
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {}

    def __init__(self, node: ir.Node, facts: Facts) -> None:
        self.node = node
        self.facts = facts

    @classmethod
    def lower(cls, node: ir.Node, facts: Facts) -> Mapping:
        """The mapping of a node. Override it where facts decide the class, as for a product with or without constants."""
        return cls(node, facts)

    # The node

    @property
    def inputs(self) -> Sequence[ir.Value | None]:
        """Inputs of the node, None where an optional one is left out."""
        return self.node.inputs

    @property
    def output(self) -> ir.Value:
        """First output of the node: the forward value, there to be used in messages."""
        return self.node.outputs[0]

    @property
    def active(self) -> list[int]:
        """Positions of the inputs that depend on the explained input."""
        return [index for index, value in enumerate(self.inputs) if self.facts.active(value)]

    @property
    def x(self) -> ir.Value:
        """The one active input.

        Raises:
            RuleError: several inputs are active where this mapping can decompose only one.
        """
        if len(self.active) != 1:
            names = [value.name for value in self.inputs if value is not None and self.facts.active(value)]
            raise RuleError(
                f"{self.node.op_type} node {self.node.name!r}: {type(self).__name__} decomposes one input that depends on the"
                f" explained one, here there are {len(names)}: {names}"
            )
        value = self.inputs[self.active[0]]
        assert value is not None
        return value

    def input(self, index: int) -> ir.Value | None:
        """An input by position, None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> npt.NDArray[Any] | None:
        """The numbers of an input that is an initializer, else None."""
        return self.facts.constant(self.input(index))

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute of the node; real ones are stored in single precision, and so are their defaults."""
        if name not in self.node.attributes:
            return float(np.float32(default)) if isinstance(default, float) else default
        attribute = self.node.attributes[name]
        return attribute.as_string() if attribute.type == ir.AttributeType.STRING else attribute.value

    def required(self, name: str) -> Any:
        """Value of an attribute that the node must have.

        Raises:
            ModelError: it has not.
        """
        value = self.attribute(name)
        if value is None:
            raise ModelError(f"{self.node.op_type} node {self.node.name!r} lacks the attribute {name!r}")
        return value

    def policy(self, op: Emitter, name: str) -> str:
        """The policy chosen for this explainer, by default the first one of its choices."""
        return str(op.options.get(name, self.policies[name][0]))

    # What a plugin writes

    def forward_messages(self, op: Emitter) -> ir.Value | Sequence[ir.Value]:
        """Emit what the node computes, z_j, from ``self.inputs``; only for operators that ONNX Runtime does not know.

        What is emitted becomes the body of a model-local function, so the node stays one node. Return the output, or one
        value per output. Not used where the model itself brings a function for the operator.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward_messages")

    @classmethod
    def emits_operator(cls) -> bool:
        """Whether the class has ``forward_messages``."""
        return cls.forward_messages is not Mapping.forward_messages

    def bounds(self) -> Bounds:
        """Bounds of the first output, as far as those of the inputs tell (``self.facts.bounds``)."""
        return UNBOUNDED

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> Messages | ir.Value:
        """Emit Σ_j R_{i←j} for every input, given the relevance of the first output.

        Return one message per input, or the message alone if one input is active. Book what reaches no input with
        ``op.absorb(kind, amount)``. ``rule`` is None if no rule of the composite fits: use the mapping's own messages.
        """
        raise NotImplementedError(f"{type(self).__name__}.relevance_messages")

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> Messages | ir.Value:
        """Emit the vector-Jacobian product of the first output, for the gradient rules.

        By default, that of the node's body, if the node has one: an operator of ``forward_messages``, a fused pattern or a
        function of the model.

        Raises:
            RuleError: the mapping has none.
        """
        if not op.has_body(self.node):
            raise RuleError(
                f"{self.node.op_type} node {self.node.name!r}: {type(self).__name__} has no gradient, so gradient rules cannot"
                " be used; give the mapping a gradient() method or use another composite"
            )
        return self.differentiate(op, [self.inputs[index] for index in self.active], gradient, rule)  # type: ignore[misc]

    # What it may use

    def differentiate(
        self, op: Emitter, point: Sequence[ir.Value], signal: ir.Value, rule: Gradient | None = None
    ) -> list[ir.Value | None]:
        """Emit Σ_j ∂f_j/∂x_i(point) · signal_j, per input of the node, for its body f or, without one, the operator itself.

        Args:
            op: emits.
            point: one value per active input, shaped like it: where f is differentiated.
            signal: shaped like the first output.
            rule: what happens at rectifiers inside, by default the gradient.

        Raises:
            UnsupportedOperatorError, RuleError: a node of the body has no mapping, or its mapping no gradient.
        """
        if len(point) != len(self.active):
            raise RuleError(
                f"{self.node.op_type} node {self.node.name!r}: {len(self.active)} inputs are active, not {len(point)}"
            )
        # Copies: where one value enters twice, its derivatives are told apart.
        copies = [op.shaped(op.Identity(value), value) for value in point]
        values = list(self.inputs)
        for index, copy in zip(self.active, copies, strict=True):
            values[index] = copy
        output = op.repeat(self.node, values)[0]
        messages: list[ir.Value | None] = [None] * len(values)
        for index, message in zip(self.active, op.vector_jacobian(output, copies, signal, rule or Gradient()), strict=True):
            messages[index] = message
        return messages

    # What the scheduler calls

    def accepts(self, rule: Rule) -> bool:
        """Whether there are messages for a rule; by default for ``Pass`` and the gradient rules."""
        return isinstance(rule, (Pass, Gradient))

    def decompose(self, op: Emitter, relevances: Sequence[ir.Value | None], rule: Rule | None) -> list[ir.Value | None]:
        """Messages to all inputs, given the relevance of each output (None where an output has none)."""
        relevance = relevances[0]
        if relevance is None or any(value is not None for value in relevances[1:]):
            raise RuleError(
                f"{self.node.op_type} node {self.node.name!r}: relevance arrives at an output other than the first, which"
                f" {type(self).__name__} does not decompose"
            )
        if isinstance(rule, Gradient):
            messages = self.gradient(op, relevance, rule)
        elif isinstance(rule, Pass):
            messages = self._pass(relevance)
        else:
            messages = self.relevance_messages(op, relevance, rule)
        return self.per_input(messages)

    def per_input(self, messages: Messages | ir.Value) -> list[ir.Value | None]:
        """Spread what ``relevance_messages`` returned over all inputs of the node."""
        if isinstance(messages, ir.Value):
            x = self.x
            return [messages if value is x else None for value in self.inputs]
        full = list(messages)
        return full + [None] * (len(self.inputs) - len(full))

    def _pass(self, relevance: ir.Value) -> ir.Value:
        if self.x.shape != self.output.shape:
            raise RuleError(
                f"{self.node.op_type} node {self.node.name!r}: Pass needs an output shaped like the input, not"
                f" {self.x.shape} -> {self.output.shape}"
            )
        return relevance


class LinearMapping(Mapping):
    """z_j = Σ_i x_i w_ij + b_j. Write ``apply`` and its ``adjoint``, and every rule works.

    ``weight`` and ``bias`` read inputs 1 and 2 unless overridden.
    """

    family: ClassVar[str] = "dense"
    native: ClassVar[str] = "ε rule, ε = 1e-6"
    policies: ClassVar[Dictionary[str, tuple[str, ...]]] = {"bias": ("absorb", "distribute", "ignore", "input", "project")}

    # What a plugin writes

    def apply(self, op: Emitter, x: ir.Value, weight: Weight) -> ir.Value:
        """Σ_i x_i w_ij, without bias."""
        raise NotImplementedError(f"{type(self).__name__}.apply")

    def adjoint(self, op: Emitter, s: ir.Value, weight: Weight) -> ir.Value:
        """Σ_j w_ij s_j, the transpose of ``apply``; may have size 1 along axes where it is constant."""
        raise NotImplementedError(f"{type(self).__name__}.adjoint")

    def weight(self, op: Emitter) -> Weight:
        """The weights."""
        raise NotImplementedError(f"{type(self).__name__}.weight")

    def additive(self, op: Emitter) -> ir.Value | None:
        """b_j as a value that broadcasts to the output; None if there is none."""
        return None

    def forward_messages(self, op: Emitter) -> ir.Value:
        """Σ_i x_i w_ij + b_j, by ``apply`` and ``additive``."""
        z, bias = self.apply(op, self.x, self.weight(op)), self.additive(op)
        return z if bias is None else op.Add(z, bias)

    # What rules call

    @property
    def nonnegative(self) -> bool:
        """Whether x ≥ 0 is known."""
        return self.facts.bounds(self.x).nonnegative

    def z(self, op: Emitter) -> ir.Value:
        """The forward value; without the bias if the policy leaves it out of denominators."""
        if op.options.get("bias") != "ignore":
            return self.output
        bias = self.additive(op)
        return self.output if bias is None else op.Sub(self.output, bias)

    def bias(self, op: Emitter) -> ir.Value | None:
        """The bias, None if the policy leaves it out."""
        return None if op.options.get("bias") == "ignore" else self.additive(op)

    def rectified(self, op: Emitter, relevance: ir.Value) -> ir.Value | None:
        """max(z, 0) as a value of the model, if it is a known factor of the relevance, so that no sign has to be told."""
        if op.options.get("bias") == "ignore":
            return None
        return self.facts.rectified_factor(op.multiples(relevance), self.output)

    def accepts(self, rule: Rule) -> bool:
        """Every rule that has linear messages, and the gradient rules."""
        return super().accepts(rule) or type(rule).linear_messages is not Rule.linear_messages

    def relevance_messages(self, op: Emitter, relevance: ir.Value, rule: Rule | None) -> ir.Value:
        """The rule's messages, and the bias share where the policy wants it."""
        chosen = rule or Epsilon()
        decomposition = chosen.linear_messages(op, self, relevance)
        if not isinstance(decomposition, Decomposition):
            name = f"{type(chosen).__module__}.{type(chosen).__qualname__}"
            raise RuleError(f"{name}.linear_messages must return a graphlrp.Decomposition, not {decomposition!r}")
        return self._place_bias(op, decomposition)

    def gradient(self, op: Emitter, gradient: ir.Value, rule: Gradient) -> ir.Value:
        """The adjoint."""
        return op.Expand(self.adjoint(op, gradient, self.weight(op)), op.shape_of(self.x))

    def _place_bias(self, op: Emitter, decomposition: Decomposition) -> ir.Value:
        message, share = decomposition.message, decomposition.bias
        if share is None:
            return message
        policy = op.options.get("bias", "absorb")
        if policy not in ("distribute", "project"):
            op.absorb("bias", share)
            return message
        weight = self.weight(op)
        if policy == "project" and isinstance(weight, EqualWeight):
            raise RuleError("bias='project' shares along w / ||w||², and EqualWeight does not tell w; use a TensorWeight")
        unit = op.Expand(op.scalar(1.0), op.shape([1, *op.sizes(self.x)[1:]]))
        if policy == "distribute":
            # (2.73): uniformly over the real inputs of j.
            ones = weight.ones(op)
            return op.Add(message, self.adjoint(op, op.divide_one_sided(share(), self.apply(op, unit, ones)), ones))
        # (2.74): along w / ||w||²; what that does not place stays in the ledger.
        square = self.apply(op, unit, weight.square(op))
        s = op.divide_one_sided(share(), square)
        op.absorb("bias", lambda: op.Sub(op.Mul(s, square), op.Mul(s, self.apply(op, unit, weight))))
        return op.Add(message, self.adjoint(op, s, weight))
