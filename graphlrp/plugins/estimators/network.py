"""A network as a step of a pipeline: what it computes of samples, or of its inside, are the features of the next step."""

from __future__ import annotations

import os
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from sklearn.base import BaseEstimator, TransformerMixin

from graphlrp.errors import InputError, ModelError
from graphlrp.feeds import read_feeds
from graphlrp.ir.functions import InlineFunctions
from graphlrp.ir.graph import find_value
from graphlrp.ir.passes.standard import Precision, convert_operator_set, infer_shapes, lift_constants
from graphlrp.ir.reading import read_model
from graphlrp.plugins.estimators.building import Builder, Stream
from graphlrp.runtime import Session, open_session, run_batches

Array = npt.NDArray[Any]


class NetworkFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features that a network makes of samples, for a pipeline whose head is another estimator.

        make_pipeline(NetworkFeatures("resnet.onnx", "pooled"), StandardScaler(), SVC())

    The network is not trained. Given to ``graphlrp.load``, the pipeline is one graph, and relevance goes from the decision of the
    head down to the network's input.

    Args:
        model: path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model`` of a network with one input.
        output: name of the output or inner value that holds the features; by default the first output. What has more axes than
            samples and features is flattened.
        providers: as for ``graphlrp.load``, for ``transform``.
        batch_size: samples per run of ``transform``.
    """

    def __init__(self, model: Any, output: str | None = None, *, providers: Any = None, batch_size: int = 32) -> None:
        self.model = model
        self.output = output
        self.providers = providers
        self.batch_size = batch_size

    def fit(self, x: Any, y: Any = None) -> NetworkFeatures:
        """Check that the network takes the samples; nothing is learned."""
        read_feeds(np.asarray(x), {str(self._cut().graph.inputs[0].name): self._cut().graph.inputs[0]})
        return self

    def transform(self, x: Any) -> Array:
        """Features [N, F].

        Raises:
            InputError: samples that the network does not take.
        """
        model = self._cut()
        value = model.graph.inputs[0]
        feeds = read_feeds(np.asarray(x), {str(value.name): value})
        static = value.shape[0] if value.shape is not None and isinstance(value.shape[0], int) else None
        (features,) = run_batches(
            self._session(),
            [str(model.graph.outputs[0].name)],
            feeds,
            batch_size=self.batch_size,
            static_batch=static,
            progress=False,
            batch_axis={},
        )
        return np.asarray(features.reshape(len(features), -1))

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """The nodes of the network."""
        model = self._cut()
        if model.graph.opset_imports[""] != builder.version:
            raise ModelError(
                f"{builder.where}: the network is of operator set {model.graph.opset_imports['']}, another one of the pipeline of"
                f" {builder.version}; convert one of them with onnx.version_converter"
            )
        Precision(builder.op.dtype)(model)
        value = builder.embed(model, stream.value)
        sizes = [size for size in list(value.shape or ())[1:] if isinstance(size, int)]
        if value.shape is None or len(sizes) != len(value.shape) - 1 or not sizes:
            raise ModelError(f"{builder.where}: the features {value.name!r} have shape {value.shape}, of no fixed number")
        if len(sizes) > 1:
            value = builder.op.Reshape(value, [0, prod(sizes)])
        return stream.moved(value, self.transform)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        value = self._cut().graph.inputs[0]
        shape = [size for size in list(value.shape or ())[1:] if isinstance(size, int)]
        if not shape or value.shape is None or len(shape) != len(value.shape) - 1:
            raise ModelError(f"the network's input {value.name!r} has shape {value.shape}; one sample must have a fixed shape")
        return tuple(shape)

    @property
    def version(self) -> int:
        """Its operator set."""
        return self._cut().graph.opset_imports[""]

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().__getstate__()}
        state.pop("_opened", None)
        if isinstance(state["model"], ir.Model):
            state["model"] = ir.to_proto(state["model"]).SerializeToString()
        elif not isinstance(state["model"], (str, bytes, os.PathLike)):
            state["model"] = state["model"].SerializeToString()
        return state

    def _cut(self) -> ir.Model:
        """The network up to its features, in an operator set that mappings are written for."""
        model = read_model(self.model)
        InlineFunctions({})(model)
        convert_operator_set(model)
        lift_constants(model)
        infer_shapes(model)
        if len(model.graph.inputs) != 1:
            names = ", ".join(str(value.name) for value in model.graph.inputs)
            raise InputError(f"NetworkFeatures takes networks with one input, not {len(model.graph.inputs)}: {names}")
        value = model.graph.outputs[0] if self.output is None else find_value(model, self.output)
        model.graph.outputs[:] = [value]
        return model

    def _session(self) -> Session:
        if not hasattr(self, "_opened"):
            self._opened = open_session(self._cut(), "float32", self.providers)
        return self._opened
