"""Running compiled graphs: sessions, providers, batches, progress. Knows nothing of relevance."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
from scipy.sparse import csr_matrix, issparse, vstack
from tqdm.auto import tqdm

from graphlrp.errors import ModelError, ProviderError
from graphlrp.ir.writing import PROTOBUF_LIMIT
from graphlrp.reference import evaluator

Array = npt.NDArray[Any]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_SHORT = {"cpu": CPU, "cuda": CUDA, "gpu": CUDA}


class Session(Protocol):
    """Something that computes outputs by name."""

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Compute the named outputs."""


class OnnxRuntimeSession:
    """A graph on ONNX Runtime."""

    def __init__(self, model: ir.Model, providers: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        held = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
        weights = sum(tensor.nbytes for tensor in held if tensor is not None)
        source: str | bytes
        if weights > PROTOBUF_LIMIT:
            self._folder = tempfile.TemporaryDirectory(prefix="graphlrp-")
            source = str(Path(self._folder.name) / "model.onnx")
            ir.save(model, source, external_data="model.onnx.data")
        else:
            source = ir.to_proto(ir.external_data.load_to_model(model)).SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=list(providers))
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot load the graph: {error}") from error
        got = self._session.get_providers()
        if got[0] != providers[0]:
            raise ProviderError(f"{providers[0]} was asked for, but the session fell back to {', '.join(got)}")

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Compute the named outputs.

        Raises:
            ModelError: ONNX Runtime fails; its message names the node.
        """
        try:
            return list(self._session.run(list(outputs), dict(feeds)))
        except Exception as error:
            raise ModelError(f"ONNX Runtime failed while computing the graph: {error}") from error


class ReferenceSession:
    """A graph on ``onnx.reference`` (numpy): slow, every operator in float64."""

    def __init__(self, model: ir.Model) -> None:
        self._evaluator = evaluator(ir.to_proto(ir.external_data.load_to_model(model)))

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Compute the named outputs."""
        with np.errstate(all="ignore"):
            return [np.asarray(value) for value in self._evaluator.run(list(outputs), dict(feeds))]


def resolve_providers(providers: Sequence[str] | str | None) -> list[str]:
    """Providers in order of preference; None takes CUDA if this machine has it, then the CPU.

    Raises:
        ProviderError: unknown, or not to be had on this machine.
    """
    if providers is None:
        return [CUDA, CPU] if _has_cuda() else [CPU]
    names = [providers] if isinstance(providers, str) else list(providers)
    full = [_SHORT.get(name.lower(), name) for name in names]
    known = onnxruntime.get_available_providers()
    if not full:
        raise ProviderError(f"no provider given; this build of ONNX Runtime has {', '.join(known)}")
    for name in full:
        if name not in known:
            raise ProviderError(f"no provider {name!r} in this build of ONNX Runtime; it has {', '.join(known)}")
        if name == CUDA and not _has_cuda():
            raise ProviderError("CUDAExecutionProvider was asked for, but ONNX Runtime finds no CUDA device on this machine")
    return full


def _has_cuda() -> bool:
    """Whether there is a CUDA device; ``get_available_providers`` only says what the wheel was built with."""
    if CUDA not in onnxruntime.get_available_providers():
        return False
    if hasattr(onnxruntime, "preload_dlls"):
        # Finds CUDA and cuDNN among pip's packages; says nothing but a warning if they are missing.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
    return any(device.ep_name == CUDA for device in onnxruntime.get_ep_devices())


def open_session(model: ir.Model, dtype: str, providers: Sequence[str] | str | None) -> Session:
    """A session for a graph; float64 runs on ``onnx.reference``, for ONNX Runtime lacks float64 kernels of many operators.

    Raises:
        ProviderError: as ``resolve_providers`` says, or another provider than the CPU is asked for with float64.
    """
    if dtype == "float64":
        names = resolve_providers(providers if providers is not None else CPU)
        if names != [CPU]:
            raise ProviderError(f"dtype='float64' runs on onnx.reference on the CPU, not on {', '.join(names)}")
        return ReferenceSession(model)
    return OnnxRuntimeSession(model, resolve_providers(providers))


def run_batches(
    session: Session,
    outputs: Sequence[str],
    feeds: Mapping[str, Array],
    *,
    batch_size: int,
    static_batch: int | None,
    progress: bool | Callable[[int, int], None],
    batch_axis: Mapping[str, int],
    sparse: Collection[str] = (),
) -> list[Any]:
    """Run a long input in batches along the first axis and join the outputs along their batch axes.

    A graph with a static batch gets batches of that size; the last one is filled up and the surplus cut off. Sparse inputs
    become dense batch by batch, and the outputs that ``sparse`` names become sparse (csr) as soon as they are there.
    """
    count = next(iter(feeds.values())).shape[0]
    size = static_batch or min(batch_size, count)
    starts = range(0, count, size)
    parts: list[list[Array]] = []
    bar = tqdm(total=count, unit="sample", leave=False) if progress is True and len(starts) > 1 else None
    for start in starts:
        part = {name: dense(array[start : start + size]) for name, array in feeds.items()}
        length = len(next(iter(part.values())))
        if static_batch and length < size:
            part = {name: np.concatenate([a, np.repeat(a[-1:], size - length, axis=0)]) for name, a in part.items()}
        values = session.run(outputs, part)
        if static_batch and length < size:
            values = [np.take(v, range(length), axis=batch_axis.get(n, 0)) for n, v in zip(outputs, values, strict=True)]
        parts.append([csr_matrix(v) if name in sparse else v for name, v in zip(outputs, values, strict=True)])
        if bar is not None:
            bar.update(length)
        elif callable(progress):
            progress(min(start + size, count), count)
    if bar is not None:
        bar.close()
    if len(parts) == 1:
        return parts[0]
    joined: list[Any] = []
    for index, name in enumerate(outputs):
        pieces = [part[index] for part in parts]
        joined.append(vstack(pieces, "csr") if name in sparse else np.concatenate(pieces, axis=batch_axis.get(name, 0)))
    return joined


def dense(array: Any) -> Array:
    """An array, whether it is sparse or not."""
    return np.asarray(array.toarray() if issparse(array) else array)
