"""Laplacians, their smallest eigenvalues, and the gap that suggests the number of clusters (thesis, 6.2).

An eigenvalue is zero as often as the graph has connected components, and the eigenvectors are the components' indicators. This
is known without any arithmetic, so it is not left to an iterative solver, which would find some of the zeros, rounded: the other
eigenvalues are computed component by component, and each component's zero is set aside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import csc_array, csr_array, diags_array, eye_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, splu
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from graphlrp.errors import InputError

Array = NDArray[Any]
Laplacian = Literal["symmetric", "random-walk", "unnormalised"]

DENSE = 1000
"""Components up to this size are decomposed as dense matrices."""

RESTARTS = 300
"""Of the Lanczos iteration, before the matrix is inverted instead: where eigenvalues lie very close, as for long chains."""

ACCURACY = 1e-10
"""‖Lv - λv‖ relative to ‖L‖ that every eigenpair has; equal eigenvalues may differ by as much."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The smallest eigenvalues of a Laplacian.

    Attributes:
        eigenvalues: [m], increasing; exactly 0 once for every component (as far as m goes).
        eigenvectors: [N, m], of length 1; those of zeros are the indicators of components, the largest component first.
        components: number of connected components.
    """

    eigenvalues: Array
    eigenvectors: Array
    components: int


def laplacian_matrix(affinity: csr_array, kind: Laplacian = "symmetric") -> csr_array:
    """L of an affinity W with degrees d_i = Σ_j w_ij, D = diag(d).

    ``"unnormalised"``: L = D - W (6.2). ``"symmetric"``: L_sym = I - D^{-1/2} W D^{-1/2}. ``"random-walk"``: L_rw = I - D^{-1} W.
    A sample without neighbours has a row of zeros in all of them.

    Raises:
        InputError: there is no such Laplacian.
    """
    _check_kind(kind)
    degrees = np.asarray(affinity.sum(axis=1)).ravel()
    if kind == "unnormalised":
        return csr_array(diags_array(degrees) - affinity)
    inverse = np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    left, right = (inverse, np.ones_like(inverse)) if kind == "random-walk" else (np.sqrt(inverse), np.sqrt(inverse))
    return csr_array(diags_array((degrees > 0).astype(np.float64)) - diags_array(left) @ affinity @ diags_array(right))


def smallest_eigenvalues(affinity: csr_array, kind: Laplacian = "symmetric", count: int = 32, seed: int = 0) -> Spectrum:
    """The ``count`` smallest eigenvalues of a Laplacian, or all N if N is smaller.

    Args:
        affinity: symmetric csr [N, N] without a diagonal.
        kind: which Laplacian. The random walk's eigenvalues are those of the symmetric one, its eigenvectors D^{-1/2} v.
        count: how many.
        seed: of the start of the iteration. Eigenvalues do not depend on it.

    Raises:
        InputError: there is no such Laplacian, or count is not positive.
    """
    _check_kind(kind)
    if count < 1:
        raise InputError(f"at least one eigenvalue has to be computed, not {count}")
    total = affinity.shape[0]
    count = min(count, total)
    degrees = np.asarray(affinity.sum(axis=1)).ravel()
    matrix = laplacian_matrix(affinity, "unnormalised" if kind == "unnormalised" else "symmetric")
    null = np.ones(total) if kind == "unnormalised" else np.sqrt(np.where(degrees > 0, degrees, 1.0))
    generator = np.random.default_rng(seed)
    components = _components(affinity)
    values = np.zeros(len(components[:count]))
    vectors = np.zeros((total, count))
    inner: list[tuple[Array, Array, Array]] = []
    for number, members in enumerate(components):
        own = null[members] / np.linalg.norm(null[members])
        if number < count:
            vectors[members, number] = own
        wanted = min(count - len(components), len(members) - 1)
        if wanted > 0:
            part = csr_array(matrix[members][:, members])
            # No eigenvalue is larger.
            bound = 2.0 * float(degrees[members].max()) if kind == "unnormalised" else 2.0
            inner.append((members, *_behind_zero(part, own, bound, wanted, generator)))
    # The others of all components in one order.
    if len(components) < count:
        found = np.concatenate([own for _, own, _ in inner])
        owner = np.concatenate([np.full(len(own), number) for number, (_, own, _) in enumerate(inner)])
        column = np.concatenate([np.arange(len(own)) for _, own, _ in inner])
        order = np.argsort(found, kind="stable")[: count - len(components)]
        values = np.concatenate([values, found[order]])
        for place, chosen in enumerate(order, start=len(components)):
            members, _, own_vectors = inner[owner[chosen]]
            vectors[members, place] = own_vectors[:, column[chosen]]
    if kind == "random-walk":
        vectors /= null[:, None]
        vectors /= np.linalg.norm(vectors, axis=0)
    # An eigenvector has no sign; this one does not depend on how it was found.
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.where(vectors[largest, np.arange(count)] < 0, -1.0, 1.0)
    return Spectrum(values, vectors, len(components))


def eigengap(eigenvalues: Array) -> int:
    """The number of clusters that a spectrum suggests: how many eigenvalues lie before the largest gap |λ_{i+1} - λ_i|.

    Args:
        eigenvalues: [m], increasing.

    Raises:
        InputError: there is no gap, because there is one eigenvalue or all are equal.
    """
    gaps = np.diff(eigenvalues)
    if not len(gaps) or gaps.max() <= 0:
        raise InputError(
            f"{len(eigenvalues)} equal eigenvalues have no gap: the graph may have more components than eigenvalues were asked"
            " for; raise eigenvalues=... or neighbours=..., or say how many clusters=..."
        )
    return int(gaps.argmax()) + 1


def _check_kind(kind: str) -> None:
    if kind not in get_args(Laplacian):
        raise InputError(f"unknown Laplacian {kind!r}, choose one of {', '.join(get_args(Laplacian))}")


def _components(affinity: csr_array) -> list[Array]:
    """Members of every component, the largest first, equally large ones by their first member."""
    count, labels = connected_components(affinity, directed=False)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=count))[:-1])
    return sorted(members, key=lambda own: (-len(own), int(own[0])))


def _behind_zero(
    matrix: csr_array, null: Array, bound: float, wanted: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Eigenvalues 2 ... wanted + 1 of a connected graph's Laplacian, [wanted], and their vectors [n, wanted]."""
    size = matrix.shape[0]
    if size <= DENSE or wanted >= size - 1:
        values, vectors = eigh(matrix.toarray(), subset_by_index=[0, wanted])
        return np.maximum(values[1:], 0.0), vectors[:, 1:]
    start = generator.normal(size=size)
    # Its products are so small that threads of BLAS would mostly wait for one another.
    with threadpool_limits(1, "blas"):
        vectors = _iterated(matrix, null, bound, wanted, start)
    product = matrix @ vectors
    values = np.einsum("ij,ij->j", vectors, product)
    error = float(np.linalg.norm(product - vectors * values, axis=0).max())
    if error > ACCURACY * bound:
        raise InputError(f"the spectrum of a graph of {size} maps was not found to {ACCURACY:g} but to {error / bound:.1g}")
    order = np.argsort(values, kind="stable")
    return np.maximum(values[order], 0.0), vectors[:, order]


def _iterated(matrix: csr_array, null: Array, bound: float, wanted: int, start: Array) -> Array:
    """Vectors [n, wanted] behind the known one, by the Lanczos iteration."""
    try:
        return _largest(lambda x: bound * x - matrix @ x, null, bound, wanted, start, RESTARTS)
    except ArpackNoConvergence:
        # Where eigenvalues are this close the graph has narrow cuts, and its inverse has few entries, too.
        size = matrix.shape[0]
        shift = ACCURACY * bound
        solve = splu(csc_array(matrix + shift * eye_array(size))).solve

        def inverse(x: Array) -> Array:
            # Of the known vector, the inverse makes so much that its rounding would drown the others.
            y = solve(x - null * (null @ x))
            rest: Array = y - null * (null @ y)
            return rest

        return _largest(inverse, null, 0.0, wanted, start, 10 * size)


def _largest(apply: Callable[[Array], Array], null: Array, null_value: float, wanted: int, start: Array, restarts: int) -> Array:
    """Eigenvectors [n, wanted] of the largest eigenvalues of a positive operator, but for the known one.

    A Krylov space holds one vector of every eigenspace, so of equal eigenvalues some may be missing. What was found is taken out
    of the operator and the largest that is left is looked for, until it is none of those that are wanted.
    """
    size = len(null)

    def find(count: int, known: Array, of_known: Array, tolerance: float) -> tuple[Array, Array]:
        def without_known(x: Array) -> Array:
            rest: Array = apply(x) - known @ (of_known * (known.T @ x))
            return rest

        operator = LinearOperator((size, size), matvec=lambda x: without_known(x.ravel()), dtype=np.float64)
        space = min(size - 1, max(2 * count + 2, 32))
        values, vectors = eigsh(operator, count, which="LA", ncv=space, maxiter=restarts, v0=start, tol=tolerance)
        return values, vectors

    vectors, values = null[:, None], np.array([null_value])
    missing = wanted
    while missing:
        found, own = find(missing, vectors, values, 0.1 * ACCURACY)
        # Those that were missing take the places of the smallest.
        keep = np.argsort(-np.append(values[1:], found), kind="stable")[:wanted] + 1
        values = np.append(values, found)[[0, *keep]]
        vectors = np.linalg.qr(np.column_stack([vectors, own]))[0][:, [0, *keep]]
        left = find(1, vectors, values, 1e-6)[0][0]
        missing = int(left > values[1:].min() * (1 + 1e-8))
    return vectors[:, 1:]
