"""From an explanation to a figure: pictures get heatmaps, signals get bands, features get bars.

What the inputs are is read from their shapes: [N, C, H, W] or [N, H, W, C] are pictures, [N, C, T] are signals, [N, D]
are features, and relevance [N, T, D] of integer inputs [N, T] belongs to the tokens, so it is summed over D.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from graphlrp.errors import InputError
from graphlrp.visual.colour import Pixels, pixel_relevance
from graphlrp.visual.figure import Panel, explanation_caption, explanation_figure, save_figure
from graphlrp.visual.page import DPI
from graphlrp.visual.signal import SignalPanel, save_signal_figure, signal_figure
from graphlrp.visual.typesetting import number

Array = NDArray[Any]
CHANNELS_OF_PICTURES = (1, 3)


class Explained(Protocol):
    """The part of :class:`graphlrp.Explanation` that is drawn.

    Attributes:
        relevance: shaped like the input, or {name: relevance} if several inputs are explained.
        output: f(x), [N, ...].
        target: class indices int64 [N], or class weights shaped like the output.
        inputs: {name: input}.
    """

    @property
    def relevance(self) -> Any:
        """R."""

    @property
    def output(self) -> Array:
        """f(x)."""

    @property
    def target(self) -> Array:
        """What was explained."""

    @property
    def inputs(self) -> Mapping[str, Array]:
        """x."""


def save_explanation(path: str | os.PathLike[str], explanation: Explained, *, dpi: float = DPI, **options: Any) -> Path:
    """Write :func:`explanation_to_figure` as PNG, whole or not at all, and return the path.

    Args:
        path: where to; its folder is made if it is missing.
        explanation: what to draw.
        dpi: pixels per inch.
        **options: those of :func:`explanation_to_figure`.

    Raises:
        InputError: as in :func:`explanation_to_figure`.
        OSError: the file cannot be written.
    """
    panels, drawing = _panels(explanation, **options)
    if isinstance(panels[0], Panel):
        return save_figure(Path(path), [[panel] for panel in panels], dpi=dpi, **drawing)
    return save_signal_figure(Path(path), panels, dpi=dpi, **drawing)


def explanation_to_figure(explanation: Explained, **options: Any) -> Figure:
    """Draw an explanation, a row for each sample.

    Args:
        explanation: what to draw.
        **options: those of :func:`explanation_panels`; all others are those of
            :func:`~graphlrp.visual.explanation_figure` for pictures, and of :func:`~graphlrp.visual.signal_figure` for
            all else.

    Returns:
        A matplotlib figure, unknown to pyplot.

    Raises:
        InputError: as in :func:`explanation_panels`, or an option has no meaning.
    """
    panels, drawing = _panels(explanation, **options)
    if isinstance(panels[0], Panel):
        return explanation_figure([[panel] for panel in panels], **drawing)
    return signal_figure(panels, **drawing)


def explanation_panels(
    explanation: Explained,
    *,
    input: str | None = None,
    layout: str | None = None,
    images: Sequence[ArrayLike] | None = None,
    labels: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    title: str = "",
) -> list[Panel] | list[SignalPanel]:
    """Make a panel of every sample; those of several composites or classes can be put side by side or below each other.

    Args:
        explanation: what to draw.
        input: name of the input to draw, if several are explained.
        layout: of pictures, "NCHW" or "NHWC"; without it the axis that has 1 or 3 entries is that of the channels.
        images: uint8 [H, W, 3] for every sample, what the model saw; without them its input is scaled to black ... white.
        labels: name of every class.
        sources: where every sample comes from, e.g. its file.
        title: stands above, e.g. the composite.

    Returns:
        N panels: of pictures, or of signals.

    Raises:
        InputError: there is no such input, it cannot be drawn, or there are not as many images or sources as samples.
    """
    name, relevance, given = _chosen(explanation, input)
    captions = [_caption(explanation, relevance, sample, labels) for sample in range(len(relevance))]
    for what, values in (("images", images), ("sources", sources)):
        if values is not None and len(values) != len(relevance):
            raise InputError(f"{len(values)} {what} for {len(relevance)} samples")
    if relevance.ndim == 4 or layout == "NHW":
        layout = layout or _layout(relevance.shape)
        maps = pixel_relevance(relevance, layout)
        shown = _pictures(name, given, layout) if images is None else images
        origins = sources or [""] * len(maps)
        return [
            Panel(np.asarray(image), values, title, caption, origin)
            for image, values, caption, origin in zip(shown, maps, captions, origins, strict=True)
        ]
    if given is None:
        raise InputError(f"{name!r} is no input of the model, so there is nothing to draw its relevance on")
    names: tuple[str, ...] = ()
    if relevance.ndim == given.ndim + 1:
        relevance, names = relevance.sum(axis=-1), tuple(f"token {token}" for token in range(given.shape[1]))
    if relevance.ndim not in (2, 3):
        raise InputError(
            f"relevance of {name!r} has shape {list(relevance.shape)}: only pictures [N, C, H, W] or [N, H, W, C],"
            " signals [N, C, T] and features [N, D] can be drawn; see graphlrp.visual for the parts of a figure"
        )
    titles = [" \N{EN DASH} ".join(filter(None, (title, origin))) for origin in sources or [""] * len(relevance)]
    return [
        SignalPanel(signal, values, heading, caption, names)
        for signal, values, heading, caption in zip(given, relevance, titles, captions, strict=True)
    ]


def _panels(explanation: Explained, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The panels, and the options that are left for the figure."""
    own = ("input", "layout", "images", "labels", "sources", "title")
    panels = explanation_panels(explanation, **{name: options.pop(name) for name in own if name in options})
    return panels, options


def _chosen(explanation: Explained, name: str | None) -> tuple[str, Array, Array | None]:
    """Name and relevance of what is to be drawn, and the input it belongs to."""
    inputs = explanation.inputs
    if not isinstance(explanation.relevance, Mapping):
        relevance = np.asarray(explanation.relevance)
        # Tokens are explained by their embedding, whose relevance has one axis more.
        fitting = [key for key, given in inputs.items() if relevance.shape[: given.ndim] == given.shape]
        if name is not None and name not in inputs:
            raise InputError(f"there is no input {name!r}; the model has {', '.join(map(repr, inputs))}")
        chosen = name or (fitting[0] if fitting else "the explained value")
        return chosen, relevance, inputs[chosen] if chosen in fitting else None
    drawable = [key for key in explanation.relevance if key in inputs]
    if name is None and len(drawable) != 1:
        raise InputError(f"several inputs are explained: choose one of {', '.join(map(repr, drawable))} with input=...")
    chosen = name if name is not None else drawable[0]
    if chosen not in explanation.relevance:
        raise InputError(f"{chosen!r} is not explained; explained are {', '.join(map(repr, explanation.relevance))}")
    return chosen, np.asarray(explanation.relevance[chosen]), inputs.get(chosen)


def _layout(shape: tuple[int, ...]) -> str:
    first, last = shape[1] in CHANNELS_OF_PICTURES, shape[-1] in CHANNELS_OF_PICTURES
    return "NHWC" if last and not first else "NCHW"


def _pictures(name: str, given: Array | None, layout: str) -> list[Pixels]:
    """The model's input as pictures: black is its smallest value, white its largest, for each sample by itself."""
    if given is None:
        raise InputError(f"{name!r} is no input of the model: give the pictures to draw its relevance on with images=...")
    values = np.asarray(given, dtype=np.float64)
    if "C" in layout:
        values = np.moveaxis(values, layout.index("C"), -1)
        if values.shape[-1] not in CHANNELS_OF_PICTURES:
            values = values.mean(axis=-1, keepdims=True)
    else:
        values = values[..., np.newaxis]
    values = np.broadcast_to(values, (*values.shape[:-1], 3))
    low, high = values.min(axis=(1, 2, 3), keepdims=True), values.max(axis=(1, 2, 3), keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    return list(np.rint(255 * (values - low) / span).astype(np.uint8))


def _caption(explanation: Explained, relevance: Array, sample: int, labels: Sequence[str] | None) -> str:
    target, output = np.asarray(explanation.target), np.asarray(explanation.output)
    total = float(relevance[sample].sum(dtype=np.float64))
    ledger = getattr(explanation, "ledger", None)
    absorbed = None if ledger is None else float(ledger.absorbed[sample])
    if target.ndim == 1 and target.dtype.kind in "iu" and output.ndim == 2:
        index = int(target[sample])
        name = labels[index] if labels is not None and index < len(labels) else f"class {index}"
        return explanation_caption(name, float(output[sample, index]), total, absorbed=absorbed)
    if output.ndim == 1:
        return explanation_caption("output", float(output[sample]), total, absorbed=absorbed)
    if target.shape == output.shape:
        value = float((output[sample].astype(np.float64) * target[sample]).sum())
        return explanation_caption("weighted classes", value, total, absorbed=absorbed)
    return f"\N{GREEK CAPITAL LETTER SIGMA}R = {number(total)}"
