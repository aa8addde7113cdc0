"""Spectra against dense linear algebra, closed forms and counted components."""

from __future__ import annotations

import numpy as np
import pytest
import threadpoolctl
from scipy.sparse import block_diag, csr_array, random_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from graphlrp import InputError, spray
from graphlrp.spray import spectrum

GENERATOR = np.random.default_rng(0)
KINDS = ["symmetric", "random-walk", "unnormalised"]


def laplacian_by_loops(weights: np.ndarray, kind: str) -> np.ndarray:
    count = len(weights)
    degrees = [sum(weights[i, j] for j in range(count)) for i in range(count)]
    result = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            if kind == "unnormalised":
                result[i, j] = (degrees[i] if i == j else 0.0) - weights[i, j]
            elif degrees[i] > 0:
                by = degrees[i] if kind == "random-walk" else np.sqrt(degrees[i] * degrees[j]) if degrees[j] > 0 else 1.0
                result[i, j] = float(i == j) - weights[i, j] / by
    return result


def random_graph(count: int, seed: int, weighted: bool = True) -> csr_array:
    half = random_array((count, count), density=6 / count, rng=np.random.default_rng(seed))
    if not weighted:
        half.data[:] = 1.0
    matrix = csr_array(half.maximum(half.T))
    matrix.setdiag(0.0)
    matrix.eliminate_zeros()
    return matrix


def ring(count: int) -> csr_array:
    nodes = np.arange(count)
    half = csr_array((np.ones(count), (nodes, (nodes + 1) % count)), shape=(count, count))
    return csr_array(half + half.T)


def blocks(*parts: csr_array) -> csr_array:
    """Graphs side by side, with their nodes in disorder."""
    matrix = csr_array(block_diag(parts))
    order = np.random.default_rng(1).permutation(matrix.shape[0])
    return csr_array(matrix[order][:, order])


@pytest.mark.parametrize("kind", KINDS)
def test_matrix(kind: str) -> None:
    matrix = csr_array(block_diag([random_graph(30, 0), csr_array((1, 1))]))
    expected = laplacian_by_loops(matrix.toarray(), kind)
    np.testing.assert_allclose(spray.laplacian_matrix(matrix, kind).toarray(), expected, atol=1e-12)


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "iterative"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "binary"])
def test_against_dense_decomposition(kind: str, dense: bool, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not dense:
        monkeypatch.setattr(spectrum, "DENSE", 5)
    matrix = blocks(random_graph(130, 0, weighted), random_graph(90, 1, weighted), ring(12), random_graph(60, 2, weighted))
    laplacian = laplacian_by_loops(matrix.toarray(), kind)
    expected = np.sort(np.linalg.eigvals(laplacian).real)[:20]
    found = spray.smallest_eigenvalues(matrix, kind, 20)
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-9)
    components = connected_components(matrix, directed=False)[0]
    assert found.components == components >= 4
    assert (found.eigenvalues[:components] == 0).all() and found.eigenvalues[components] > 0
    # They are eigenvectors, of length 1, and those of the symmetric matrices orthogonal.
    np.testing.assert_allclose(laplacian @ found.eigenvectors, found.eigenvectors * found.eigenvalues, atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(found.eigenvectors, axis=0), 1.0)
    if kind != "random-walk":
        np.testing.assert_allclose(found.eigenvectors.T @ found.eigenvectors, np.eye(20), atol=1e-8)


def test_eigenvectors_of_zero_are_components_the_largest_first() -> None:
    matrix = blocks(random_graph(40, 3), ring(25), ring(10))
    found = spray.smallest_eigenvalues(matrix, "unnormalised", 8)
    labels = connected_components(matrix, directed=False)[1]
    sizes = []
    for column in range(found.components):
        members = found.eigenvectors[:, column] != 0
        assert len(set(labels[members])) == 1 and (labels == labels[members][0]).sum() == members.sum()
        np.testing.assert_allclose(found.eigenvectors[members, column], members.sum() ** -0.5)
        sizes.append(int(members.sum()))
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("restarts", [300, 2], ids=["Lanczos", "inverted"])
def test_a_ring_has_every_eigenvalue_twice(restarts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """λ_j = 1 - cos(2πj/n), a chain of many equal pairs that lie close together: the worst case of the iteration."""
    monkeypatch.setattr(spectrum, "RESTARTS", restarts)
    count = 1500
    expected = np.sort(1 - np.cos(2 * np.pi * np.arange(count) / count))[:12]
    found = spray.smallest_eigenvalues(ring(count), count=12)
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-11)
    np.testing.assert_allclose(found.eigenvectors.T @ found.eigenvectors, np.eye(12), atol=1e-8)


def test_equal_eigenvalues_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hubs that everything is connected with: the eigenvalue 1 as often as there are others, which one vector cannot show."""
    count, hubs = 200, 4
    matrix = np.zeros((count, count))
    matrix[:hubs] = matrix[:, :hubs] = 1.0
    np.fill_diagonal(matrix, 0.0)
    monkeypatch.setattr(spectrum, "DENSE", 10)
    expected = np.linalg.eigvalsh(laplacian_by_loops(matrix, "symmetric"))[:15]
    np.testing.assert_allclose(spray.smallest_eigenvalues(csr_array(matrix), count=15).eigenvalues, expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_samples_does_not_matter(kind: str) -> None:
    matrix = blocks(random_graph(80, 4), random_graph(50, 5))
    order = GENERATOR.permutation(130)
    one = spray.smallest_eigenvalues(matrix, kind, 10)
    other = spray.smallest_eigenvalues(csr_array(matrix[order][:, order]), kind, 10)
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, atol=1e-10)
    np.testing.assert_allclose(one.eigenvectors[order], other.eigenvectors, atol=1e-6)


def test_an_eigenvector_that_the_iteration_missed_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    count, calls = 600, []
    matrix = ring(count)

    def forgetful(operator, k, **options):
        calls.append(k)
        if len(calls) > 1:
            return eigsh(operator, k, **options)
        values, vectors = eigsh(operator, k + 2, **{**options, "ncv": 2 * k + 10})
        return np.delete(values, [4, 7]), np.delete(vectors, [4, 7], axis=1)

    monkeypatch.setattr(spectrum, "DENSE", 10)
    monkeypatch.setattr(spectrum, "eigsh", forgetful)
    found = spray.smallest_eigenvalues(matrix, count=9)
    np.testing.assert_allclose(found.eigenvalues, np.sort(1 - np.cos(2 * np.pi * np.arange(count) / count))[:9], atol=1e-11)
    np.testing.assert_allclose(found.eigenvectors.T @ found.eigenvectors, np.eye(9), atol=1e-8)
    assert calls[:2] == [8, 1] and len(calls) == 6


def test_more_eigenvalues_than_samples_and_fewer_than_components() -> None:
    matrix = blocks(ring(5), ring(4), ring(3), csr_array((1, 1)))
    found = spray.smallest_eigenvalues(matrix, count=50)
    np.testing.assert_allclose(
        found.eigenvalues, np.linalg.eigvalsh(laplacian_by_loops(matrix.toarray(), "symmetric")), atol=1e-12
    )
    few = spray.smallest_eigenvalues(matrix, count=2)
    assert few.components == 4 and few.eigenvectors.shape == (13, 2)
    np.testing.assert_array_equal(few.eigenvalues, [0, 0])


def test_gap() -> None:
    assert spray.eigengap(np.array([0, 0, 0, 0.5, 0.6])) == 3
    assert spray.eigengap(np.array([0, 0.3, 0.35, 0.5])) == 1
    for flat in ([0.0], [0.0, 0.0, 0.0]):
        with pytest.raises(InputError, match="have no gap"):
            spray.eigengap(np.array(flat))


def mixture(deviation: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(mean, deviation, 50) for mean in (2, 4, 6, 8)])[:, None]


@pytest.mark.parametrize("seed", range(5))
def test_figure_6_2(seed: int) -> None:
    """Apart: four zeros and a gap. Touching: no longer zeros, but the gap. Overlapping: no gap that stands out."""
    spectra = {}
    for deviation in (0.2, 0.4, 0.8):
        matrix = spray.NearestNeighbours(30)(mixture(deviation, seed))
        found = spray.smallest_eigenvalues(matrix, count=10)
        spectra[deviation] = found.eigenvalues
        assert found.components == (4 if deviation == 0.2 else 1)
    gaps = {deviation: np.diff(values) for deviation, values in spectra.items()}
    assert spray.eigengap(spectra[0.2]) == spray.eigengap(spectra[0.4]) == 4
    assert (spectra[0.2][:4] == 0).all()
    assert spectra[0.4][1] > 0 and spectra[0.4][3] < 0.1
    share = {deviation: own[3] / own.sum() for deviation, own in gaps.items()}
    assert share[0.2] > 0.35 and share[0.4] > 0.35 and share[0.8] < 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spray.smallest_eigenvalues(ring(5), "cosine"), "choose one of symmetric, random-walk, unnormalised"),
        (lambda: spray.laplacian_matrix(ring(5), "cosine"), "unknown Laplacian"),
        (lambda: spray.smallest_eigenvalues(ring(5), count=0), "at least one eigenvalue"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_the_iteration_keeps_blas_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}

    iterate = spectrum._largest
    monkeypatch.setattr(spectrum, "_largest", lambda *arguments: (seen.append(threads()), iterate(*arguments))[1])
    features = np.random.default_rng(0).normal(size=(1200, 4))
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        spray.smallest_eigenvalues(spray.NearestNeighbours(12)(features), count=4)
        assert seen == [{1}] and threads() == before
