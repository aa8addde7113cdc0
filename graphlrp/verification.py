"""The proof that canonicalisation left the function as it was: outputs of the original and the canonical model on data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from graphlrp.errors import InputError, ModelError
from graphlrp.ir.canonical import Pass, canonicalise
from graphlrp.ir.functions import Table, lacks_body
from graphlrp.runtime import dense, open_session

Array = npt.NDArray[Any]

SAMPLES = 4
"""How many of the first samples that are explained both models are compared on."""

TOLERANCE = 1e-3
"""Largest difference of outputs, relative to the largest of them, that is taken for rounding."""


@dataclass(frozen=True)
class Verification:
    """An original and its canonical model, with what made the one of the other.

    Attributes:
        passes: the passes of canonicalisation, to find the one that is to blame.
        table: the mappings; operators that only they know do not run in the original.
        dtype: ``"float32"`` or ``"float64"``, what the canonical model runs in.
        function: what computes the original's outputs, if it is no ONNX model, and ``name`` what it is called.
    """

    original: ir.Model
    canonical: ir.Model
    passes: Sequence[Pass]
    table: Table
    dtype: str
    function: Callable[[Mapping[str, Array]], Sequence[Array]] | None = None
    name: str = "model"

    def compare(self, feeds: Mapping[str, Array]) -> tuple[float, str]:
        """Run both.

        Returns:
            The largest difference of any output, relative to the largest magnitude of that output, NaN if the original does not
            run; and the same in words.

        Raises:
            InputError: the original refuses the samples.
            ModelError: they differ by more than rounding can explain; the pass that is to blame is named if one can be found.
        """
        feeds = {name: dense(array) for name, array in feeds.items()}
        if self.function is not None:
            if all(a.ndim == 2 for a in feeds.values()):
                # Also where nothing is and at twice the samples, for their own output may be zero, on a boundary for instance.
                feeds = {name: np.concatenate([a, np.zeros_like(a[:1]), 2 * a]) for name, a in feeds.items()}
            try:
                expected = [np.asarray(output) for output in self.function(feeds)]
            except Exception as error:
                raise InputError(f"{self.name} itself refuses the samples: {type(error).__name__}: {error}") from error
            difference = self._difference(expected, self.canonical, feeds)
            if not difference <= TOLERANCE:
                raise ModelError(
                    f"the model made of {self.name} differs from it by {difference:.2e} of the largest output. Please report it;"
                    " load(..., verify=False) goes on regardless"
                )
            text = f"agrees with {self.name} to {difference:.1e} of the largest output, on {_count(feeds)} points"
            return difference, text
        unknown = sorted({f"{n.domain}.{n.op_type}" for n in self.original.graph if lacks_body(self.original, n, self.table)})
        if any(self.table[tuple(name.rsplit(".", 1))].emits_operator() for name in unknown):  # type: ignore[index]
            return float("nan"), f"not verified: only plugins know what {', '.join(unknown)} of the original compute"
        names = [str(value.name) for value in self.original.graph.outputs]
        types = {str(value.name): value.dtype for value in self.original.graph.inputs}
        own = {name: a.astype(types[name].numpy()) if types.get(name) else a for name, a in feeds.items()}  # type: ignore[union-attr]
        try:
            expected = open_session(self.original, "float32", "cpu").run(names, own)
        except ModelError as error:
            return float("nan"), f"not verified: ONNX Runtime does not run the original model ({str(error)[:120]})"
        difference = self._difference(expected, self.canonical, feeds)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"canonicalisation changed the model: outputs differ by {difference:.2e} of the largest output."
                f" {self._guilty(expected, feeds)} Please report it with the model; load(..., verify=False) goes on regardless"
            )
        text = f"canonical and original outputs agree to {difference:.1e} of the largest output, on {_count(feeds)} sample(s)"
        return difference, text

    def _difference(self, expected: Sequence[Array], model: ir.Model, feeds: Mapping[str, Array]) -> float:
        # Between passes, the value that is explained may stand behind the model's own outputs.
        names = [str(value.name) for value in model.graph.outputs][: len(expected)]
        got = open_session(model, self.dtype, "cpu").run(names, feeds)
        worst = 0.0
        for a, b in zip(expected, got, strict=True):
            if a.dtype.kind == "f" and a.size:
                scale = max(float(np.abs(a).max()), 1e-30)
                with np.errstate(invalid="ignore"):
                    worst = max(worst, float(np.abs(a.astype(np.float64) - b).max()) / scale)
        return worst

    def _guilty(self, expected: Sequence[Array], feeds: Mapping[str, Array]) -> str:
        """Find the first pass after which outputs differ."""
        for count in range(1, len(self.passes) + 1):
            model = self.original.clone()
            try:
                canonicalise(model, self.passes[:count])
                if self._difference(expected, model, feeds) > TOLERANCE:
                    guilty = self.passes[count - 1]
                    return f"The pass {getattr(guilty, '__name__', guilty)!r} is to blame."
            except ModelError:
                continue
        return "No single pass is to blame."


def _count(feeds: Mapping[str, Array]) -> int:
    return int(next(iter(feeds.values())).shape[0])
