"""Maxout (Goodfellow et al., "Maxout Networks", 2013) for GraphLRP: the layer ``maxout.example.Maxout``.

A maxout neuron is the largest of several linear pieces. Neither ONNX nor ONNX Runtime know it, so the mapping says both what
the node computes and where its relevance goes.
"""

from __future__ import annotations

import onnx_ir as ir

import graphlrp

DOMAIN = "maxout.example"


class Maxout(graphlrp.Mapping):
    """z_j = max_k a_jk with a_jk = Σ_i x_i w_ijk + b_jk.

    R_{i←j} = Σ_k v_jk x_i w_ijk / (z_j + ε·sign z_j) · R_j, where v_jk is 1 for the winning piece, 1/n for each of n pieces that
    tie, and 0 for all others: a winning piece is a linear neuron under the ε rule. An ``Epsilon`` of the composite brings its ε,
    without one it is 1e-6. The shares of the biases, Σ_k v_jk b_jk / (z_j + ε·sign z_j) · R_j, are booked as ``bias``.

    Inputs: x [N, ..., D], w [D, M·K] with piece k of neuron j in column j·K + k, and b [M·K], which may be left out.
    Attribute: ``pieces``, the number K. Output: z [N, ..., M].
    """

    operators = ((DOMAIN, "Maxout"),)
    family = "maxout"
    native = "ε rule for the winning piece, ε = 1e-6"

    def accepts(self, rule: graphlrp.Rule) -> bool:
        """``Epsilon`` and the gradient rules; not ``Pass``, for the output has another shape than the input."""
        return isinstance(rule, graphlrp.Epsilon) or (super().accepts(rule) and not isinstance(rule, graphlrp.Pass))

    def sizes(self, op: graphlrp.Emitter) -> tuple[int, int]:
        """M and K.

        Raises:
            graphlrp.ModelError: attribute and inputs do not make a maxout layer; GraphLRP adds the name of the node.
        """
        pieces, weights, bias = self.attribute("pieces"), self.input(1), self.input(2)
        if not isinstance(pieces, int) or pieces < 1:
            raise graphlrp.ModelError(f"needs a positive integer as attribute 'pieces', not {pieces!r}")
        if weights is None:
            raise graphlrp.ModelError("needs weights [D, M·pieces] as its second input")
        features, shape = op.size(self.inputs[0], -1), op.sizes(weights)
        if len(shape) != 2 or shape[1] % pieces or (isinstance(features, int) and shape[0] != features):
            raise graphlrp.ModelError(f"needs weights [D, M·pieces] with D = {features} and pieces = {pieces}, not {shape}")
        if bias is not None and op.sizes(bias) != [shape[1]]:
            raise graphlrp.ModelError(f"needs a bias of {shape[1]} numbers, not of shape {op.sizes(bias)}")
        return shape[1] // pieces, pieces

    def split(self, op: graphlrp.Emitter, value: ir.Value) -> ir.Value:
        """Neurons and pieces as axes of their own: [..., M·K] -> [..., M, K]."""
        return op.Reshape(value, op.shape([*op.sizes(value)[:-1], *self.sizes(op)]))

    def activations(self, op: graphlrp.Emitter) -> ir.Value:
        """a_jk, [N, ..., M, K]."""
        self.sizes(op)
        linear, bias = op.MatMul(self.inputs[0], self.inputs[1]), self.input(2)
        return self.split(op, linear if bias is None else op.Add(linear, bias))

    def forward_messages(self, op: graphlrp.Emitter) -> ir.Value:
        """z_j, [N, ..., M]."""
        return op.ReduceMax(self.activations(op), op.integers([-1]), keepdims=0)

    def relevance_messages(self, op: graphlrp.Emitter, relevance: ir.Value, rule: graphlrp.Rule | None) -> ir.Value:
        """The ε rule for the pieces that win."""
        last = op.integers([-1])
        activations = self.activations(op)
        z = op.ReduceMax(activations, last, keepdims=1)
        wins = op.Cast(op.Equal(activations, z), to=int(op.dtype))
        epsilon = rule.epsilon if isinstance(rule, graphlrp.Epsilon) else graphlrp.Epsilon().epsilon
        quotient = op.divide_stabilized(op.Unsqueeze(relevance, last), z, epsilon)
        shares = op.Mul(op.Div(wins, op.ReduceSum(wins, last, keepdims=1)), quotient)  # v_jk / (z_j + ε·sign z_j) · R_j
        bias = self.input(2)
        if bias is not None:
            op.absorb("bias", lambda: op.Mul(shares, self.split(op, bias)))
        columns = op.shape([*op.sizes(relevance)[:-1], -1])
        return op.Mul(self.x, op.MatMul(op.Reshape(shares, columns), op.Transpose(self.inputs[1], perm=[1, 0])))


@graphlrp.hookimpl
def register_mappings(register):
    """Make the layer known."""
    register(Maxout)
