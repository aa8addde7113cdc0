"""Bag-of-Words pipelines: local features, vocabularies and codings as estimators in the manner of scikit-learn.

Pipelines of these and of scikit-learn's own are explained from the score to the pixel:
``make_pipeline(DenseSIFT(), DescriptorPCA(64), FisherVector(128), SVC(kernel="linear"))``.
"""

from graphlrp.plugins.bow.colour import ColourQuantiles
from graphlrp.plugins.bow.descriptors import Descriptors
from graphlrp.plugins.bow.fisher import FisherVector
from graphlrp.plugins.bow.sift import DenseSIFT
from graphlrp.plugins.bow.steps import DescriptorPCA
from graphlrp.plugins.bow.words import BagOfWords

__all__ = ["BagOfWords", "ColourQuantiles", "DenseSIFT", "DescriptorPCA", "Descriptors", "FisherVector"]
