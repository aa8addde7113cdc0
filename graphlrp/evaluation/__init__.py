"""Judging explanations: perturbation, localisation, and checks that a method depends on the model and is continuous.

Consumers of ``graphlrp.Explainer``; other methods come in as functions or as arrays of relevances.
"""

from graphlrp.evaluation.continuity import ContinuityResult, continuity
from graphlrp.evaluation.descriptors import perturb_descriptors
from graphlrp.evaluation.filling import Blur, Constant, Filling, Flip, Mean, Uniform
from graphlrp.evaluation.localisation import outside_inside_ratio, pointing_game, relevance_mass, relevance_rank
from graphlrp.evaluation.perturbation import perturb, perturbed
from graphlrp.evaluation.randomisation import RandomisationResult, randomise_parameters
from graphlrp.evaluation.result import Curve, PerturbationResult, RelativeCurve, ResultRow
from graphlrp.evaluation.storage import read_result

__all__ = [
    "Blur",
    "Constant",
    "ContinuityResult",
    "Curve",
    "Filling",
    "Flip",
    "Mean",
    "PerturbationResult",
    "RandomisationResult",
    "RelativeCurve",
    "ResultRow",
    "Uniform",
    "continuity",
    "outside_inside_ratio",
    "perturb",
    "perturb_descriptors",
    "perturbed",
    "pointing_game",
    "randomise_parameters",
    "read_result",
    "relevance_mass",
    "relevance_rank",
]
