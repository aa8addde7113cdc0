"""Methods compared by region perturbation on trained networks, as in figure 3.5: ``python benchmarks/evaluation.py``.

Needs the networks and pictures of the acceptance suite (``GRAPHLRP_ASSETS``). Networks are explained by LRP and by other methods;
f is watched while regions are replaced, with noise that is uniform over the range of pixels and with the mean of the picture.
``--folder`` keeps the scores, so that an interrupted run goes on; ``--picture`` draws the area over the curves relative to random
orders.

``--overhead`` measures what perturbing costs besides the runs of the network.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import graphlrp
from graphlrp import evaluation
from graphlrp.evaluation.drawing import Line, Panel, draw_panels, write_page

sys.path.insert(0, str(Path(__file__).parent.parent))
from acceptance.sources import assets_folder
from acceptance.zoo import TRAINED

METHODS = (
    "epsilon-plus-flat",
    "epsilon-alpha2beta1-flat",
    "epsilon",
    "gradient-x-input",
    "gradient",
    "sensitivity",
    "deconvolution",
    "guided-backprop",
    "integrated-gradients",
    "smoothgrad",
    "grad-cam",
    "occlusion",
    "random",
)


@dataclass(frozen=True)
class Run:
    """How a network is evaluated."""

    title: str
    samples: int
    region: int
    steps: int
    regions_per_step: int
    repeats: int


RUNS = {
    "resnet20": Run("ResNet-20, CIFAR-10", 200, 2, 40, 1, 2),
    "densenet-bc": Run("DenseNet-BC, CIFAR-10", 100, 2, 40, 1, 1),
    "efficientnet-lite0": Run("EfficientNet-Lite0, ImageNet", 50, 9, 50, 2, 1),
}


def evaluate(name: str, run: Run, methods: list[str], filling: str, folder: Path | None) -> evaluation.PerturbationResult:
    """Perturb the pictures of a network; prints settings, the table and the time."""
    model = TRAINED[name]
    assets = assets_folder()
    x, labels = model.read(assets, run.samples)
    start = time.perf_counter()
    result = evaluation.perturb(
        model.path(assets),
        x,
        methods,
        order=("morf", "lerf", "random"),
        region=run.region,
        steps=run.steps,
        regions_per_step=run.regions_per_step,
        repeats=run.repeats,
        filling=evaluation.Uniform(model.low, model.high) if filling == "noise" else filling,
        resume=None if folder is None else folder / f"{name}-{filling}.h5",
        progress=sys.stderr.isatty(),
    )
    seconds = time.perf_counter() - start
    inputs = sum(curve.scores[:, :, 1:].size for curve in result.curves)
    print(f"\n{run.title}: {(result.target == labels).mean():.0%} of the pictures are classified correctly")
    print(result)
    print(f"{inputs} perturbed inputs in {seconds:.0f} s", flush=True)
    return result


def draw(results: dict[tuple[str, str], evaluation.PerturbationResult], path: Path) -> None:
    """Area over the curves, most relevant first, relative to random orders, a panel for each network and filling."""
    panels = []
    for (name, filling), result in results.items():
        lines = [Line(curve.method, np.arange(len(curve.mean)), curve.mean) for curve in result.relative()]
        panels.append(Panel(f"{RUNS[name].title}; filling: {filling}", lines, zero=True))
    page = draw_panels(panels, across="steps L", up="AOPC less that of random orders", same_scale=False)
    print(write_page(page, path, 120))


def overhead(name: str, run: Run) -> None:
    """Time inside ONNX Runtime and outside of it, while given relevances are evaluated."""
    model = TRAINED[name]
    assets = assets_folder()
    explainer = graphlrp.load(model.path(assets), "epsilon")
    x, _ = model.read(assets, 4)
    maps = np.random.default_rng(0).normal(size=(len(x), *x.shape[2:]))
    explainer.predict(x)
    assert explainer._forward is not None
    session = explainer._forward[0]
    inside = [0.0]
    plain = session.run

    def timed(*arguments: Any) -> Any:
        start = time.perf_counter()
        values = plain(*arguments)
        inside[0] += time.perf_counter() - start
        return values

    session.run = timed  # type: ignore[method-assign]
    for batch in (8, 32, 128):
        inside[0] = 0.0
        start = time.perf_counter()
        result = evaluation.perturb(
            explainer, x, {"m": maps}, region=run.region, steps=min(run.steps, 50), repeats=2, order="morf", batch_size=batch
        )
        seconds = time.perf_counter() - start
        inputs = result.curves[0].scores[:, :, 1:].size
        share = (seconds - inside[0]) / inside[0]
        print(f"| {run.title} | {batch} | {inputs / inside[0]:.0f} | {inputs / seconds:.0f} | {share:.1%} |", flush=True)


def main() -> None:
    """Print tables, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--samples", type=int, help="pictures of each network")
    parser.add_argument("--steps", type=int, help="steps for each network")
    parser.add_argument("--repeats", type=int, help="repeats for each network")
    parser.add_argument("--fillings", nargs="+", default=["noise", "mean"], help="noise over the range of pixels, mean, blur ...")
    parser.add_argument("--folder", type=Path, help="keep scores here")
    parser.add_argument("--picture", type=Path, help="draw here (.png, .svg, .pdf)")
    parser.add_argument("--overhead", action="store_true", help="measure what perturbing costs, and nothing else")
    options = parser.parse_args()
    changes = {key: getattr(options, key) for key in ("samples", "steps", "repeats") if getattr(options, key) is not None}
    runs = {name: Run(**{**vars(RUNS[name]), **changes}) for name in options.networks}
    if options.overhead:
        print("| network | batch | inputs/s in ONNX Runtime | inputs/s | overhead |\n|---|---|---|---|---|")
        for name, run in runs.items():
            overhead(name, run)
        return
    results = {
        (name, filling): evaluate(name, run, options.methods, filling, options.folder)
        for name, run in runs.items()
        for filling in options.fillings
    }
    if options.picture is not None:
        draw(results, options.picture)


if __name__ == "__main__":
    main()
