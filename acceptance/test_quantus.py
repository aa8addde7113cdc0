"""Region perturbation side by side with Quantus, on the same network, pictures, relevances, regions and filling.

Opt-in: needs quantus 0.6 and torch. Quantus is compared with; it is never part of GraphLRP. With both installed,

    python -m pytest acceptance/test_quantus.py
    python -m acceptance.test_quantus              # prints how long both take

What differs, and is set equal here:

- Quantus gives f(x^(0)) - f(x^(k)) for k = 1 ... L, the drops; we keep the scores f(x^(k)) for k = 0 ... L. (3.7) is the mean of
  the drops with that of k = 0, which is zero; Quantus leaves this mean to the caller.
- Quantus watches the softmax unless it is asked for logits (`softmax=False`), and divides relevances by their maximum unless
  `normalise=False`, which leaves the order alone.
- "mean" is the mean of what is left of the picture at each step there, and of the clean picture here; noise cannot be the same.
  A constant is.
- If the size of regions does not divide that of the picture, Quantus pads the picture and has incomplete regions at the border;
  here, the grid has whole regions only, unless border="include". Sizes that divide are compared.
- Regions of equal relevance: there as the sorting algorithm leaves them, here by lot. Relevances without ties are compared.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="the comparison with Quantus needs torch")
quantus = pytest.importorskip("quantus", reason="the comparison with Quantus needs quantus")

import graphlrp  # noqa: E402
from acceptance.sources import assets_folder  # noqa: E402
from acceptance.zoo import TRAINED  # noqa: E402
from graphlrp import evaluation  # noqa: E402

PRESETS = ("epsilon-plus-flat", "gradient-x-input")
FILL = -0.25


class Torch(torch.nn.Module):
    """An ONNX network of a few operators, computed by torch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.graph = onnx.load(path).graph
        self.constants = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in self.graph.initializer}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first output."""
        values = {**self.constants, self.graph.input[0].name: x}
        for node in self.graph.node:
            settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            values[node.output[0]] = OPERATORS[node.op_type]([values[n] for n in node.input if n], settings)
        return values[self.graph.output[0].name]


def _convolution(inputs: list[torch.Tensor], a: dict) -> torch.Tensor:
    top, left, bottom, right = a.get("pads", [0] * 4)
    x = torch.nn.functional.pad(inputs[0], (left, right, top, bottom))
    return torch.nn.functional.conv2d(x, *inputs[1:], stride=a.get("strides", [1, 1]), groups=a.get("group", 1))


def _slice(inputs: list[torch.Tensor], a: dict) -> torch.Tensor:
    starts, ends, axes, steps = (i.tolist() for i in inputs[1:5])
    index = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, min(end, inputs[0].shape[axis]), step)
    return inputs[0][tuple(index)]


def _pad(inputs: list[torch.Tensor], a: dict) -> torch.Tensor:
    sizes = inputs[1].tolist()
    half = len(sizes) // 2
    pairs = [size for axis in reversed(range(half)) for size in (sizes[axis], sizes[half + axis])]
    return torch.nn.functional.pad(inputs[0], pairs)


OPERATORS: dict[str, Callable[[list[torch.Tensor], dict], torch.Tensor]] = {
    "Conv": _convolution,
    "BatchNormalization": lambda i, a: torch.nn.functional.batch_norm(i[0], i[3], i[4], i[1], i[2], False, 0.1, a["epsilon"]),
    "Relu": lambda i, a: torch.relu(i[0]),
    "Clip": lambda i, a: torch.clamp(i[0], i[1], i[2]),
    "Add": lambda i, a: i[0] + i[1],
    "Slice": _slice,
    "Pad": _pad,
    "AveragePool": lambda i, a: torch.nn.functional.avg_pool2d(i[0], a["kernel_shape"], a.get("strides", [1, 1])),
    "GlobalAveragePool": lambda i, a: i[0].mean((2, 3), keepdim=True),
    "Reshape": lambda i, a: i[0].reshape([i[0].shape[k] if size == 0 else size for k, size in enumerate(i[1].tolist())]),
    "Gemm": lambda i, a: i[0] @ (i[1].T if a.get("transB") else i[1]) + i[2],
}


class Runtime(torch.nn.Module):
    """The network on ONNX Runtime, dressed as a module."""

    def __init__(self, explainer: graphlrp.Explainer) -> None:
        super().__init__()
        self.explainer = explainer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """f(x)."""
        return torch.from_numpy(self.explainer.predict(x.numpy(), batch_size=len(x)))


def quantus_drops(
    model: torch.nn.Module, x: np.ndarray, target: np.ndarray, relevance: np.ndarray, size: int, steps: int, order: str
) -> np.ndarray:
    """f(x^(0)) - f(x^(k)) for k = 1 ... L as Quantus computes it, [N, L]."""
    metric = quantus.RegionPerturbation(
        patch_size=size,
        order=order,
        regions_evaluation=steps,
        normalise=False,
        perturb_baseline=FILL,
        disable_warnings=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scores = metric(model.eval(), x, target, relevance, channel_first=True, softmax=False, batch_size=len(x))
    return np.asarray(scores)


def prepared(name: str, count: int) -> tuple[Path, graphlrp.Explainer, np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Path of a trained network, its explainer, pictures, their relevances and classes."""
    assets = assets_folder()
    model = TRAINED[name]
    x, _ = model.read(assets, count)
    explainers = {preset: graphlrp.load(model.path(assets), preset) for preset in PRESETS}
    first = explainers[PRESETS[0]]
    target = first.predict(x).argmax(1)
    return model.path(assets), first, x, {preset: own(x, target).relevance for preset, own in explainers.items()}, target


@pytest.mark.parametrize(("name", "count", "size", "steps"), [("resnet20", 4, 4, 64), ("efficientnet-lite0", 2, 16, 8)])
def test_drops_are_the_same(name: str, count: int, size: int, steps: int) -> None:
    path, explainer, x, relevances, target = prepared(name, count)
    orders = ("morf", "lerf")
    ours = evaluation.perturb(explainer, x, relevances, target, order=orders, region=size, steps=steps, filling=FILL)
    areas = {}
    for preset, relevance in relevances.items():
        for order in orders:
            scores = ours.curve(preset, order).scores[:, 0].astype(np.float64)
            drops = scores[:, :1] - scores[:, 1:]
            scale = np.abs(scores).max()
            for module in (Torch(path), Runtime(explainer)):
                theirs = quantus_drops(module, x, target, relevance, size, steps, order)
                assert theirs.shape == drops.shape
                np.testing.assert_allclose(theirs, drops, atol=1e-4 * scale)
            areas[preset, order] = theirs.sum() / len(x) / (steps + 1)
            assert ours.curve(preset, order).aopc == pytest.approx(areas[preset, order], abs=1e-4 * scale)
    # The same ranking of methods and orders follows; it is no tie.
    assert len({round(area, 3) for area in areas.values()}) == len(areas)


def seconds_of(name: str, count: int, size: int, steps: int, runs: int) -> np.ndarray:
    """Seconds of GraphLRP, of Quantus on torch and of Quantus on ONNX Runtime, one after the other, [runs, 3]."""
    path, explainer, x, relevances, target = prepared(name, count)
    relevance = relevances[PRESETS[0]]
    modules = Torch(path), Runtime(explainer)

    def ours() -> object:
        return evaluation.perturb(
            explainer, x, {"m": relevance}, target, order="morf", region=size, steps=steps, filling=FILL, batch_size=32
        )

    calls = [ours, *(partial(quantus_drops, module, x, target, relevance, size, steps, "morf") for module in modules)]
    seconds = np.empty((runs, len(calls)))
    for run in range(runs):
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            seconds[run, index] = time.perf_counter() - start
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how long both take for the same curves: medians, and medians of the ratios within a run."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.test_quantus", description="Time both.")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    print("| network | inputs | GraphLRP s | Quantus on torch s | ratio | Quantus on ONNX Runtime s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name, count, size, steps in (("resnet20", 32, 4, 32), ("efficientnet-lite0", 8, 16, 10)):
        seconds = seconds_of(name, count, size, steps, options.runs)
        ours, torch_seconds, runtime_seconds = np.median(seconds, axis=0)
        ratios = np.median(seconds / seconds[:, :1], axis=0)
        print(
            f"| {name} | {count * steps} | {ours:.2f} | {torch_seconds:.2f} | {ratios[1]:.1f} | {runtime_seconds:.2f} |"
            f" {ratios[2]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
