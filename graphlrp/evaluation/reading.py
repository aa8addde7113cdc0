"""From what a user gives to samples of one kind or another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from graphlrp.errors import InputError
from graphlrp.evaluation.arrays import DenseSamples, ListedSamples
from graphlrp.evaluation.layout import Layout, layouts_of
from graphlrp.evaluation.samples import Samples
from graphlrp.evaluation.sparse import SparseSamples
from graphlrp.evaluation.values import kind_of
from graphlrp.explanation import of_several_shapes
from graphlrp.plugins.estimators.text import TextReader

Array = npt.NDArray[Any]


def read_samples(
    x: Any,
    axes: str | None = None,
    *,
    named: str | None = None,
    dtype: np.dtype[Any] | None = None,
    reader: TextReader | None = None,
) -> Samples:
    """Samples of whichever kind.

    Args:
        x: as ``check_samples`` takes it.
        axes: such as ``"NHWC"``; by default as the model names them, or as the shape suggests.
        named: axes that the model names, which are left to it if they do not fit the number of axes.
        dtype: of the model's input, to which numbers of the same kind are brought; None leaves them as they are.
        reader: what the model counts terms with, None if it takes no texts.

    Raises:
        InputError: as for ``check_samples``; axes that do not fit; texts where there is no reader, or that it cannot read.
    """
    check_samples(x)
    if _are_texts(x):
        if reader is None:
            raise InputError(
                "x are texts, and nothing here counts their terms: give a pipeline that begins with a vectorizer as the model, or"
                " the counts as a matrix, explainer.reader(texts)"
            )
        x = reader(x)
    if issparse(x):
        Layout.of(x.shape, axes)
        floating = dtype is not None and dtype.kind == "f"
        return SparseSamples.of(x, "features" if reader is None else "terms", dtype if floating else None)
    if isinstance(x, np.ndarray) or not of_several_shapes(x):
        x = np.stack(x) if isinstance(x, (list, tuple)) else x
        x = np.ascontiguousarray(x, _dtype_for(x.dtype, dtype))
        return DenseSamples(x, Layout.of(x.shape, axes or _fitting(named, x.ndim)))
    common = _dtype_for(np.result_type(*{array.dtype for array in x}), dtype)
    arrays = [np.ascontiguousarray(array, common) for array in x]
    return ListedSamples(arrays, layouts_of([array.shape for array in arrays], axes or _fitting(named, arrays[0].ndim + 1)))


def check_samples(x: Any) -> int:
    """Refuse what are no samples; gives their number.

    Raises:
        InputError: neither an array of numbers, nor a sparse matrix, nor a list of arrays or of texts; or there are none.
    """
    if isinstance(x, Mapping):
        raise InputError(
            f"x are several inputs ({', '.join(map(str, x))}); give a function of the one that is perturbed as the model, and"
            " methods as functions or arrays"
        )
    if isinstance(x, (str, bytes)):
        raise InputError("x is a single text: give a list of texts, [text]")
    if _are_texts(x):
        return len(x)
    if isinstance(x, (list, tuple)) and x and all(isinstance(sample, np.ndarray) for sample in x):
        for number, sample in enumerate(x):
            if sample.dtype.kind not in "fiu" or sample.ndim < 1 or not sample.size:
                raise InputError(f"sample {number} of x must be an array of numbers, not {kind_of(sample)}")
        return len(x)
    if not (isinstance(x, np.ndarray) or issparse(x)) or x.dtype.kind not in "fiu":
        raise InputError(
            f"x must be an array of numbers [N, ...], a sparse matrix [N, D], or a list of arrays or of texts, not {kind_of(x)}"
        )
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(f"x has shape {list(x.shape)}; it must be samples [N, ...], at least one")
    return int(x.shape[0])


def _are_texts(x: Any) -> bool:
    """Whether x is a list, tuple, array or Series with a text in it."""
    if isinstance(x, np.ndarray) and x.dtype.kind not in "OUS":
        return False
    in_a_row = isinstance(x, (list, tuple)) or ((hasattr(x, "to_numpy") or isinstance(x, np.ndarray)) and x.ndim == 1)
    return in_a_row and any(isinstance(item, (str, bytes)) for item in x)


def _dtype_for(given: np.dtype[Any], wanted: np.dtype[Any] | None) -> np.dtype[Any]:
    # Any other change of type is left to the explainer, which refuses it.
    same_kind = wanted is not None and (wanted.kind == given.kind or {wanted.kind, given.kind} <= set("iu"))
    return wanted if wanted is not None and same_kind else given


def _fitting(axes: str | None, count: int) -> str | None:
    return axes if axes is not None and len(axes) == count else None
