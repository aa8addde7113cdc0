"""Models and explanations that several files of this folder show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import graphlrp
from graphlrp import Explainer, Explanation
from tests.builders import residual_network

EVIL = "<script>alert('x')</script>&\"'\x00"
"""What a user may call anything; NUL is no character of HTML."""


@dataclass
class Pictures:
    """Two composites and the two best classes of three pictures of 16 x 16 pixels."""

    images: list[np.ndarray]
    explainers: dict[str, Explainer]
    explanations: dict[str, list[Explanation]]


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    generator = np.random.default_rng(0)
    images = list(generator.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    x = (np.stack(images).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
    model = residual_network(channels=3, size=16, classes=4)
    explainers = {name: graphlrp.load(model, name, ledger=True) for name in ("epsilon-plus", "epsilon")}
    explanations = {}
    for name, explainer in explainers.items():
        best = explainer(x)
        explanations[name] = [best, explainer(x, np.argsort(-best.output, axis=1)[:, 1])]
    return Pictures(images, explainers, explanations)


@pytest.fixture(scope="session")
def table() -> Explanation:
    """Two classes, six features with names."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(40, 6))
    pipeline: Any = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, np.where(x[:, 0] > x[:, 1], "yes", EVIL))
    source = graphlrp.convert(pipeline, features=[EVIL, "b", "c", "d", "e", "f"])
    return graphlrp.load(source, ledger=True)(x[np.argsort(x[:, 0] - x[:, 1])[[0, -1, 1, -2]]])


@pytest.fixture(scope="session")
def texts() -> Explanation:
    """Two texts, the second of which has no word that the model knows."""
    documents = ["the cat sat", "a dog ate my food", "cats purr", "my dog barks"] * 2
    pipeline = make_pipeline(TfidfVectorizer(), LinearSVC(random_state=0)).fit(documents, ["cat", "dog"] * 4)
    return graphlrp.load(pipeline, ledger=True)([f"My dog,\nmy cat {EVIL}", "unknown"])
