"""From an explanation to a figure: pictures get heatmaps, signals get bands, features get bars.

What the inputs are is read from their shapes: [N, C, H, W] or [N, H, W, C] are pictures, [N, C, T] are signals, [N, D]
are features, dense or sparse, and relevance [N, T, D] of integer inputs [N, T] belongs to the tokens, so it is summed
over D.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix, issparse

from graphlrp.errors import InputError
from graphlrp.layout import CHANNELS_OF_PICTURES, layout_of_shape
from graphlrp.visual.colour import Pixels, pixel_relevance
from graphlrp.visual.explained import Explained, caption_of, explained_as
from graphlrp.visual.figure import Panel, explanation_figure, save_figure
from graphlrp.visual.page import DPI
from graphlrp.visual.signal import SignalPanel, save_signal_figure, signal_figure

Array = NDArray[Any]


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
    features: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    title: str = "",
) -> list[Panel] | list[SignalPanel]:
    """Make a panel of every sample; those of several composites or classes can be put side by side or below each other.

    Args:
        explanation: what to draw.
        input: name of the input to draw, if several are explained.
        layout: of pictures, "NCHW" or "NHWC"; without it the axis that has 1 or 3 entries is that of the channels.
        images: uint8 [H, W, 3] for every sample, what the model saw; without them its input is scaled to black ... white.
        labels: name of every class; without them the explanation's own.
        features: name of every feature of an input [N, D]; without them the explanation's own.
        sources: where every sample comes from, e.g. its file.
        title: stands above, e.g. the composite.

    Returns:
        N panels: of pictures, or of signals.

    Raises:
        InputError: there is no such input, it cannot be drawn, or there are not as many images or sources as samples.
    """
    if isinstance(explanation.relevance, list):
        return _panels_of_several_shapes(
            explanation, layout=layout, images=images, labels=labels, features=features, sources=sources, title=title
        )
    layout = layout or getattr(explanation, "layout", None)
    name, relevance, given = _chosen(explanation, input)
    labels = labels if labels is not None else getattr(explanation, "classes", None)
    explained = [explained_as(explanation, sample, labels) for sample in range(relevance.shape[0])]
    captions = [caption_of(explanation, relevance, sample, *explained[sample][:2]) for sample in range(len(explained))]
    for what, values in (("images", images), ("sources", sources)):
        if values is not None and len(values) != len(captions):
            raise InputError(f"{len(values)} {what} for {len(captions)} samples")
    if (relevance.ndim == 4 or layout == "NHW") and not issparse(relevance):
        layout = layout or layout_of_shape(relevance.shape)
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
    elif relevance.ndim == 2:
        names = _feature_names(explanation, features, relevance.shape[1])
    if relevance.ndim not in (2, 3):
        raise InputError(
            f"relevance of {name!r} has shape {list(relevance.shape)}: only pictures [N, C, H, W] or [N, H, W, C],"
            " signals [N, C, T] and features [N, D] can be drawn; see graphlrp.visual for the parts of a figure"
        )
    # Where relevance starts from something else than f(x), its sign is not that of what it speaks for.
    directed = getattr(explanation, "initial", "value") == "value"
    result = []
    for sample, (caption, origin) in enumerate(zip(captions, sources or [""] * len(captions), strict=True)):
        heading = " \N{EN DASH} ".join(filter(None, (title, origin)))
        vector = _Vector.of(given, relevance, sample, names)
        sides = explained[sample][2] if directed else ("", "")
        result.append(SignalPanel(vector.values, vector.relevance, heading, caption, vector.names, sides, vector.absent))
    return result


@dataclass(frozen=True)
class _Vector:
    """What is drawn of one sample: all of it, or of a sparse one the features that have relevance."""

    values: Array
    relevance: Array
    names: tuple[str, ...]
    absent: int = 0

    @classmethod
    def of(cls, given: Any, relevance: Any, sample: int, names: tuple[str, ...]) -> _Vector:
        """Only this row is made dense, and of it only what is drawn."""
        if not issparse(relevance):
            return cls(given[sample].toarray()[0] if issparse(given) else given[sample], relevance[sample], names)
        row, own = relevance[sample], given[sample]
        columns = np.sort(row.indices[row.data != 0])
        if not len(columns):
            # Nothing has relevance: one feature shows it.
            columns = own.indices[:1] if issparse(own) and own.nnz else np.zeros(1, np.int64)
        values = own[:, columns].toarray()[0] if issparse(own) else own[columns]
        chosen = tuple(names[column] if names else f"feature {column}" for column in columns)
        return cls(values, row[:, columns].toarray()[0], chosen, row.shape[1] - len(columns))


def _panels_of_several_shapes(explanation: Explained, **options: Any) -> list[Panel] | list[SignalPanel]:
    """Panels of samples that make no batch, one by one."""
    count = len(explanation.relevance)
    for what in ("images", "sources"):
        if options[what] is not None and len(options[what]) != count:
            raise InputError(f"{len(options[what])} {what} for {count} samples")
    panels: list[Any] = []
    for sample in range(count):
        own = {what: None if options[what] is None else options[what][sample : sample + 1] for what in ("images", "sources")}
        panels += explanation_panels(_one(explanation, sample), **{**options, **own})
    return panels


def _one(explanation: Explained, sample: int) -> Any:
    """One sample of an explanation, as an explanation."""

    def of(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: of(part) for name, part in value.items()}
        return np.asarray(value[sample])[np.newaxis]

    ledger = getattr(explanation, "ledger", None)
    return SimpleNamespace(
        relevance=of(explanation.relevance),
        output=of(explanation.output),
        target=of(explanation.target),
        inputs=of(explanation.inputs),
        classes=getattr(explanation, "classes", None),
        initial=getattr(explanation, "initial", "value"),
        layout=getattr(explanation, "layout", None),
        ledger=None if ledger is None else SimpleNamespace(absorbed=of(ledger.absorbed)),
    )


def _panels(explanation: Explained, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The panels, and the options that are left for the figure."""
    own = ("input", "layout", "images", "labels", "features", "sources", "title")
    panels = explanation_panels(explanation, **{name: options.pop(name) for name in own if name in options})
    return panels, options


def _chosen(explanation: Explained, name: str | None) -> tuple[str, Array, Array | None]:
    """Name and relevance of what is to be drawn, and the input it belongs to."""
    inputs = explanation.inputs
    if not isinstance(explanation.relevance, Mapping):
        relevance = _array(explanation.relevance)
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
    return chosen, _array(explanation.relevance[chosen]), inputs.get(chosen)


def _array(values: Any) -> Any:
    """An array; a sparse matrix stays one, as csr, whose rows are cheap."""
    return csr_matrix(values) if issparse(values) else np.asarray(values)


def _feature_names(explanation: Explained, features: Sequence[str] | None, width: int) -> tuple[str, ...]:
    if features is None:
        # A model's names are those of its input, which need not be what is drawn.
        features = getattr(explanation, "features", None)
        features = features if features is not None and len(features) == width else None
    elif len(features) != width:
        raise InputError(f"{len(features)} names do not fit {width} features")
    return () if features is None else tuple(features)


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
