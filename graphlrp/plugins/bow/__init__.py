"""The built-in family of Bag-of-Words pipelines: from the score to the descriptor and the pixel."""

from __future__ import annotations

from graphlrp.plugins.bow.assignment import Assignment
from graphlrp.plugins.bow.colour import ColourQuantilesMapping
from graphlrp.plugins.bow.encoding import DescriptorProjection
from graphlrp.plugins.bow.mixture import FisherVector, Posterior
from graphlrp.plugins.bow.pooling import Pooling, PosteriorPooling
from graphlrp.plugins.bow.sift import DenseSIFTMapping
from graphlrp.plugins.spec import RegisterMapping, RegisterPreset, hookimpl
from graphlrp.rules import select
from graphlrp.rules.composite import Composite
from graphlrp.rules.linear import Epsilon, Flat

MAPPINGS = (
    DenseSIFTMapping,
    ColourQuantilesMapping,
    DescriptorProjection,
    Assignment,
    Pooling,
    Posterior,
    PosteriorPooling,
    FisherVector,
)


def bag_of_words(epsilon: float = 1.0, deep: bool = False, projection_epsilon: float = 0.01) -> Composite:
    """Exact at the predictor; ε on Fisher vectors, ``epsilon`` beside sums over descriptors (the source takes 1 and 100).

    Pixels get the relevance of whole descriptors (2.85), or, if ``deep``, of the numbers of descriptors through their principal
    components and spatial bins (D.3). ``projection_epsilon`` then stabilises principal components: of the many that are nearly
    zero, each would else give large relevance of both signs to its descriptor. The default is for SIFT, whose length is 1.
    """
    projection = Epsilon(projection_epsilon) if deep else Flat()
    pairs = [
        (select.operator("graphlrp.FisherVector"), Epsilon(epsilon)),
        (select.operator("graphlrp.DescriptorProjection"), projection),
        (select.every(), Epsilon(0.0)),
    ]
    options = {"descriptors": "dimensions", "sift": "bins"} if deep else {}
    return Composite([(s, r) for s, r in pairs], "bag-of-words", options=options)


@hookimpl
def register_mappings(register: RegisterMapping) -> None:
    """Register the built-in family of Bag-of-Words pipelines."""
    for mapping in MAPPINGS:
        register(mapping)


@hookimpl
def register_presets(register: RegisterPreset) -> None:
    """Register its preset."""
    register("bag-of-words", bag_of_words)
