"""Text pipelines: a vectorizer counts terms in Python; what is behind it is lowered to the graph, whose input are the counts."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, hstack, issparse
from sklearn import calibration, multiclass, pipeline, preprocessing
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

from graphlrp.errors import InputError, ModelError
from graphlrp.plugins.estimators.building import Builder, Stream
from graphlrp.plugins.estimators.decision import SEARCHES
from graphlrp.plugins.estimators.occurrences import Occurrence, occurrences, own_code

Array = npt.NDArray[Any]

VECTORIZERS = (CountVectorizer, HashingVectorizer)
"""What counts terms; ``TfidfVectorizer`` is a ``CountVectorizer``."""

_SEVERAL = (multiclass.OneVsRestClassifier, multiclass.OneVsOneClassifier)

SETTINGS = ("analyzer", "binary", "lowercase", "ngram_range", "strip_accents", "token_pattern")
"""Settings of a vectorizer that say what a term is, beside its stop words."""


def tf_idf(builder: Builder, step: Any, stream: Stream) -> Stream:
    """(1 + ln) tf · idf / ‖…‖, each only if the step does it: ``TfidfTransformer``, or the second half of ``TfidfVectorizer``."""
    value = stream.value
    if step.sublinear_tf:
        value = builder.node("Function", value, width=stream.width, function="sublinear")
    if step.use_idf:
        value = builder.scaled(value, 0.0, step.idf_)
    if step.norm is not None:
        value = builder.node("Normalizer", value, width=stream.width, norm=step.norm)
    return stream.moved(value, getattr(step, "_tfidf", step).transform)


class Counts(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What stands for a fitted vectorizer once its counting is done elsewhere: takes the counts [N, W] of all vectorizers.

    Attributes:
        vectorizer: whose weighting is left to do, and ``start`` and ``stop`` the columns of its counts.
        n_features_in_: W.
    """

    def __init__(self, vectorizer: Any, start: int, stop: int, n_features_in_: int) -> None:
        self.vectorizer = vectorizer
        self.start = start
        self.stop = stop
        self.n_features_in_ = n_features_in_

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, x: Any, y: Any = None) -> Counts:
        """Nothing is left to fit; scikit-learn asks every estimator for it."""
        return self

    def transform(self, x: Any) -> Any:
        """What the vectorizer makes of counts, by its own code."""
        counts = csr_matrix(x)[:, self.start : self.stop]
        if isinstance(self.vectorizer, TfidfVectorizer):
            if self.vectorizer.sublinear_tf and (counts.data < 0).any():
                raise ValueError("counts cannot be negative")
            return self.vectorizer._tfidf.transform(counts)
        if isinstance(self.vectorizer, HashingVectorizer) and self.vectorizer.norm is not None:
            return preprocessing.normalize(counts, norm=self.vectorizer.norm)
        return counts

    def lower(self, builder: Builder, stream: Stream) -> Stream:
        """The same as nodes."""
        references = None if stream.references is None else stream.references[:, self.start : self.stop]
        stream = replace(stream, value=builder.columns(stream.value, range(self.start, self.stop)), references=references)
        if isinstance(self.vectorizer, TfidfVectorizer):
            return tf_idf(builder, self.vectorizer, stream)
        norm = getattr(self.vectorizer, "norm", None)
        if norm is None:
            return stream
        value = builder.node("Normalizer", stream.value, width=stream.width, norm=norm)
        return stream.moved(value, lambda x: preprocessing.normalize(x, norm=norm))


def split(estimator: Any) -> tuple[Any, TextReader | None]:
    """An estimator in two: what counts the terms of texts, and a copy that takes the counts. (Itself, None) if it takes no texts.

    Raises:
        InputError: a vectorizer is not fitted.
    """
    found: dict[int, tuple[str, Any]] = {}

    def note(vectorizer: Any, path: tuple[str, ...]) -> Any:
        found.setdefault(id(vectorizer), ("__".join(path), vectorizer))
        return vectorizer

    _replaced(estimator, note)
    if not found:
        return estimator, None
    reader = TextReader(tuple(Vocabulary.of(name, vectorizer) for name, vectorizer in found.values()))
    ends = np.cumsum([0, *(part.width for part in reader.parts)]).tolist()
    columns = {key: (ends[k], ends[k + 1]) for k, key in enumerate(found)}

    def count(vectorizer: Any, path: tuple[str, ...]) -> Any:
        return Counts(vectorizer, *columns[id(vectorizer)], ends[-1])

    return _replaced(estimator, count), reader


def misplaced(part: Any) -> str | None:
    """What to say of a vectorizer that is left in the pipeline when all that it begins with are taken off."""
    if not isinstance(part, VECTORIZERS):
        return None
    return (
        f"{type(part).__name__} takes texts, so it has to be the first step, or the first of a branch of a FeatureUnion: put what"
        " stands before it into its preprocessor or tokenizer"
    )


def _replaced(estimator: Any, change: Callable[[Any, tuple[str, ...]], Any], path: tuple[str, ...] = ()) -> Any:
    """A copy of an estimator with other vectorizers where it begins."""

    def inside(part: Any, *names: str) -> Any:
        return _replaced(part, change, (*path, *names))

    if isinstance(estimator, VECTORIZERS):
        return change(estimator, path)
    result = copy.copy(estimator)
    if isinstance(estimator, pipeline.Pipeline):
        # Steps that do nothing may stand before the first one.
        first = next((k for k, (_, step) in enumerate(estimator.steps) if step is not None and step != "passthrough"), None)
        result.steps = [(name, inside(step) if k == first else step) for k, (name, step) in enumerate(estimator.steps)]
    elif isinstance(estimator, pipeline.FeatureUnion):
        result.transformer_list = [(name, inside(part, name)) for name, part in estimator.transformer_list]
    elif isinstance(estimator, SEARCHES) and hasattr(estimator, "best_estimator_"):
        result.best_estimator_ = inside(estimator.best_estimator_)
    elif isinstance(estimator, calibration.CalibratedClassifierCV) and hasattr(estimator, "calibrated_classifiers_"):
        parts = [copy.copy(part) for part in estimator.calibrated_classifiers_]
        for k, part in enumerate(parts):
            part.estimator = inside(part.estimator, f"fold{k}")
        result.calibrated_classifiers_ = parts
    elif isinstance(estimator, _SEVERAL) and hasattr(estimator, "estimators_"):
        result.estimators_ = [inside(part, f"estimator{k}") for k, part in enumerate(estimator.estimators_)]
    else:
        return estimator
    return result


@dataclass(frozen=True)
class Vocabulary:
    """A vectorizer that counts, and does nothing else.

    Attributes:
        name: where it stands, if there are several.
        vectorizer: a ``CountVectorizer`` with a vocabulary, or a ``HashingVectorizer``, of texts.
        terms: names of the columns, None where they are numbers of a hash.
        decode: what the vectorizer is given -> text.
    """

    name: str
    vectorizer: Any
    terms: list[str] | None
    decode: Callable[[Any], str]

    @classmethod
    def of(cls, name: str, vectorizer: Any) -> Vocabulary:
        """Of a fitted vectorizer, which is left as it is.

        Raises:
            InputError: it is not fitted.
        """
        own = copy.copy(vectorizer)
        own.input = "content"
        own.dtype = np.float64
        if isinstance(vectorizer, HashingVectorizer):
            own.norm = None
            return cls(name, own, None, vectorizer.decode)
        try:
            terms = [str(term) for term in own.get_feature_names_out()]
            if isinstance(vectorizer, TfidfVectorizer) and vectorizer.use_idf and not hasattr(vectorizer, "idf_"):
                raise NotFittedError
        except NotFittedError:
            raise InputError(f"{type(vectorizer).__name__} is not fitted; call fit first") from None
        return cls(name, own, terms, vectorizer.decode)

    @property
    def width(self) -> int:
        """How many columns there are."""
        return int(self.vectorizer.n_features) if self.terms is None else len(self.terms)

    def counts(self, texts: list[str]) -> Any:
        """Counts [N, V], csr."""
        with warnings.catch_warnings():
            # What may be wrong with its stop words, or unused, a vectorizer says when it is fitted.
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn.feature_extraction")
            if isinstance(self.vectorizer, CountVectorizer):
                # Without the weighting of a TfidfVectorizer.
                return csr_matrix(CountVectorizer.transform(self.vectorizer, texts), dtype=np.float64)
            return csr_matrix(self.vectorizer.transform(texts), dtype=np.float64)

    def columns(self, terms: list[Any]) -> list[tuple[int, float] | None]:
        """Column of every term, and what it counts there; None for terms that are unknown."""
        if not terms:
            return []
        if self.terms is not None:
            known = self.vectorizer.vocabulary_
            return [(int(known[term]), 1.0) if term in known else None for term in terms]
        hashed = FeatureHasher(self.width, input_type="string", alternate_sign=self.vectorizer.alternate_sign)
        rows = csr_matrix(hashed.transform([[term] for term in terms]))
        signs = np.ones(len(terms)) if self.vectorizer.binary else rows.data
        return list(zip(rows.indices.tolist(), signs.tolist(), strict=True))

    def settings(self) -> dict[str, Any]:
        """What it takes to make it again, as JSON knows it."""
        result = {name: getattr(self.vectorizer, name) for name in SETTINGS}
        # The list itself: another version of scikit-learn may have another one of the same name.
        stop_words = self.vectorizer.get_stop_words()
        result["stop_words"] = None if stop_words is None else sorted(stop_words)
        if self.terms is None:
            result |= {"kind": "hashing", "n_features": self.width, "alternate_sign": bool(self.vectorizer.alternate_sign)}
        else:
            result |= {"kind": "vocabulary", "vocabulary": self.terms}
        return result | {"name": self.name}

    @classmethod
    def made(cls, settings: dict[str, Any]) -> Vocabulary:
        """The reverse of ``settings``."""
        options = dict(settings)
        kind, name = options.pop("kind"), options.pop("name")
        options["ngram_range"] = tuple(options["ngram_range"])
        make = {"vocabulary": CountVectorizer, "hashing": HashingVectorizer}[kind]
        return cls.of(name, make(**options))


@dataclass(frozen=True)
class Place:
    """A term of the model at a place of a text.

    Attributes:
        occurrence: the term, and where it is.
        feature: its column among the counts.
        weight: what it adds to the count, -1 for half of the terms of a ``HashingVectorizer``, else 1.
    """

    occurrence: Occurrence
    feature: int
    weight: float


@dataclass(frozen=True)
class TextReader:
    """Reads texts for a model that takes the counts of their terms.

    Attributes:
        parts: the vectorizers, whose counts stand side by side; none if they cannot be had.
        missing: why not.
        table: reads what is no text, but counts already: a matrix.
    """

    parts: tuple[Vocabulary, ...]
    missing: str = ""
    table: Callable[[Any], Any] = csr_matrix

    def __call__(self, x: Any) -> Any:
        """Counts [N, V], csr, of texts; of numbers, what ``table`` makes of them.

        Raises:
            InputError: one text instead of a list of them, something in the list that is no text, or texts cannot be read;
                numbers that count nothing.
        """
        texts = self.texts(x)
        if texts is not None:
            return self.counts(texts)
        counts = self.table(x)
        numbers = counts.data if issparse(counts) else counts
        if getattr(numbers, "dtype", None) is not None and numbers.dtype.kind == "f" and (numbers != np.round(numbers)).any():
            raise InputError(
                "the model takes texts, or how often their terms occur: these numbers are no counts but perhaps TF-IDF weights"
                " already, which it computes itself (numbers of any kind: {'input': x})"
            )
        return counts

    def texts(self, x: Any) -> list[str] | None:
        """The texts among what a user gives, None if it is something else.

        Raises:
            InputError: as for calling it.
        """
        if isinstance(x, (str, bytes)):
            raise InputError("a single text was given: give a list of texts, [text]")
        if not isinstance(x, (list, tuple, np.ndarray)) and not (hasattr(x, "to_numpy") and getattr(x, "ndim", 0) == 1):
            return None
        items = list(x)
        if not any(isinstance(item, (str, bytes)) for item in items):
            return [] if not items else None
        wrong = next((k for k, item in enumerate(items) if not isinstance(item, (str, bytes))), None)
        if wrong is not None:
            raise InputError(f"text {wrong} is no text but a {type(items[wrong]).__name__}: {str(items[wrong])[:50]}")
        try:
            return [self.parts[0].decode(item) if self.parts else str(item) for item in items]
        except UnicodeDecodeError as error:
            raise InputError(f"a text is not encoded as the vectorizer expects: {error}") from error

    def counts(self, texts: list[str]) -> Any:
        """Counts [N, V], csr.

        Raises:
            InputError: they cannot be read.
        """
        if not self.parts:
            raise InputError(f"texts cannot be read: {self.missing}; give the counts of their terms, a matrix [N, V]")
        if not texts:
            return csr_matrix((0, sum(part.width for part in self.parts)))
        return csr_matrix(hstack([part.counts(texts) for part in self.parts], "csr"))

    def places(self, text: str) -> list[Place]:
        """All terms of a text that the model knows, at their places, in the order of the vectorizers."""
        result: list[Place] = []
        start = 0
        for part in self.parts:
            found = occurrences(part.vectorizer, text)
            columns = part.columns([occurrence.term for occurrence in found])
            for occurrence, column in zip(found, columns, strict=True):
                if column is not None:
                    result.append(Place(occurrence, start + column[0], column[1]))
            start += part.width
        return result

    @cached_property
    def features(self) -> list[str] | None:
        """Names of the counts: terms, behind the name of their vectorizer if there are several. None if they are hashed."""
        if any(part.terms is None for part in self.parts):
            return None
        prefixed = len(self.parts) > 1
        return [f"{part.name}__{term}" if prefixed else term for part in self.parts for term in part.terms or ()]

    @property
    def words(self) -> bool:
        """Whether all terms are made of words, none of characters."""
        return all(part.vectorizer.analyzer not in ("char", "char_wb") for part in self.parts)

    def json(self) -> str:
        """What a file needs to read texts; of code of the user, only that it is missing."""
        for part in self.parts:
            name = own_code(part.vectorizer)
            if name is not None:
                where = f"the {name} of {part.name!r}" if part.name else f"the {name} of its vectorizer"
                return json.dumps({"missing": f"{where} is Python code, which the model's file does not hold"})
        return json.dumps({"vectorizers": [part.settings() for part in self.parts]}, ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str, table: Callable[[Any], Any]) -> TextReader:
        """The reverse of ``json``.

        Raises:
            ModelError: it is damaged.
        """
        try:
            content = json.loads(text)
            parts = tuple(Vocabulary.made(settings) for settings in content.get("vectorizers", ()))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the model's metadata do not say how texts are read: {error!r}") from error
        return cls(parts, content.get("missing", ""), table)
