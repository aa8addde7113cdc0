"""Showing relevance: colours, overlays and figures.

``colour`` maps relevance to symmetric colours, ``overlay`` lays it over the picture, ``figure`` draws what a
person would publish, and ``signal`` does so for inputs that are no pictures. Everything takes arrays: nothing
here knows how the relevance came about.
"""

from graphlrp.visual.colour import (
    COLOUR_MAPS,
    ColourMap,
    colour_map,
    heatmap,
    normalise,
    pixel_relevance,
    relevance_scale,
)
from graphlrp.visual.explanation import explanation_panels, explanation_to_figure, save_explanation
from graphlrp.visual.figure import Panel, explanation_caption, explanation_figure, save_figure
from graphlrp.visual.overlay import overlay, positive_mask, relevance_overlay
from graphlrp.visual.signal import SignalPanel, save_signal_figure, signal_figure

__all__ = [
    "COLOUR_MAPS",
    "ColourMap",
    "Panel",
    "SignalPanel",
    "colour_map",
    "explanation_caption",
    "explanation_figure",
    "explanation_panels",
    "explanation_to_figure",
    "heatmap",
    "normalise",
    "overlay",
    "pixel_relevance",
    "positive_mask",
    "relevance_overlay",
    "relevance_scale",
    "save_explanation",
    "save_figure",
    "save_signal_figure",
    "signal_figure",
]
