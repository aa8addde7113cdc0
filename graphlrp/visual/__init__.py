"""Showing relevance: colours, overlays and figures.

``colour`` maps relevance to symmetric colours, ``overlay`` lays it over the picture, ``figure`` draws what a
person would publish, and ``signal`` does so for inputs that are no pictures. All of these take arrays and do not
know how the relevance came about. ``text`` marks the words of texts, for terminals and as HTML. ``network`` draws a
plan: the network, its rules and its relevance.
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
from graphlrp.visual.network import network_figure, save_network
from graphlrp.visual.overlay import overlay, positive_mask, relevance_overlay
from graphlrp.visual.signal import SignalPanel, save_signal_figure, signal_figure
from graphlrp.visual.text import Span, TextRelevance, html_page, save_html, text_relevance

__all__ = [
    "COLOUR_MAPS",
    "ColourMap",
    "Panel",
    "SignalPanel",
    "Span",
    "TextRelevance",
    "colour_map",
    "explanation_caption",
    "explanation_figure",
    "explanation_panels",
    "explanation_to_figure",
    "heatmap",
    "html_page",
    "network_figure",
    "normalise",
    "overlay",
    "pixel_relevance",
    "positive_mask",
    "relevance_overlay",
    "relevance_scale",
    "save_explanation",
    "save_figure",
    "save_html",
    "save_network",
    "save_signal_figure",
    "signal_figure",
    "text_relevance",
]
