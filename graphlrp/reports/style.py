"""How a report shows relevance: colours, normalisation, sizes."""

from __future__ import annotations

from dataclasses import dataclass

from graphlrp.visual.colour import ColourMap


@dataclass(frozen=True)
class Style:
    """What holds for the whole page.

    Attributes:
        colours: colour map that the page opens with.
        joint: one common scale for all maps of a section instead of one for each (thesis, eq. 2.62).
        percentile: of |R|, that gets the full colour; None for 99.5 in pictures and signals and the largest elsewhere.
    """

    colours: ColourMap
    joint: bool
    percentile: float | None
