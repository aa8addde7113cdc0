"""The whole analysis, rankings and suspects, on maps with a planted strategy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from graphlrp import GraphLRPError, InputError, spray
from graphlrp.spray.ranking import Ranking


def planted(count: int = 160, seed: int = 0, size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Maps [N, 1, size, size] with noise and a blob in the middle; of some, relevance lies in a corner instead."""
    generator = np.random.default_rng(seed)
    maps = 0.3 * generator.normal(size=(count, 1, size, size))
    corner = generator.random(count) < 0.2
    y, x = np.mgrid[:size, :size] / size
    blob = np.exp(-((y - 0.5) ** 2 + (x - 0.5) ** 2) / 0.03)
    strength = 1 + 0.05 * generator.normal(size=(count, 1, 1, 1))
    maps += np.where(corner[:, None, None, None], 0.3, 1.0) * blob * strength
    maps[corner, :, 1:6, 1:6] += 2.0
    return maps, corner


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    return planted()[0]


@pytest.fixture(scope="module")
def analysis(maps: np.ndarray) -> spray.Analysis:
    return spray.analyse(maps, clusters=(2, 3), embedding=spray.TSNE(iterations=250))


def test_the_planted_strategy_is_found(maps: np.ndarray) -> None:
    corner = planted()[1]
    found = spray.analyse(maps)
    assert found.gap == 2 and list(found.clusterings) == ["kmeans-2"]
    np.testing.assert_array_equal(found.labels, corner)
    (suspect,) = spray.suspicious(found)
    np.testing.assert_array_equal(suspect.positions, np.flatnonzero(corner))
    np.testing.assert_array_equal(found.members(1), np.flatnonzero(corner))
    assert found.eigenvalues.shape == (32,) and found.eigenvectors.shape == (160, 32)
    assert found.embedding.shape == (160, 2) and found.features.shape == (160, 400) and found.shape == (20, 20)
    assert len(found) == 160
    assert "cluster 1" in str(suspect)


def test_it_is_algorithm_3(maps: np.ndarray, analysis: spray.Analysis) -> None:
    """Step by step, dense and in float64."""
    features = np.stack([spray.SumPool(20)(one) for one in maps])[:, 0].reshape(160, -1)
    np.testing.assert_allclose(analysis.features, features)
    distances = np.sqrt(((features[:, None] - features[None]) ** 2).sum(-1))
    weights = np.zeros((160, 160))
    for i, row in enumerate(distances):
        for j in sorted(set(range(160)) - {i}, key=lambda other: row[other])[:6]:
            weights[i, j] = 1
    weights = np.maximum(weights, weights.T)
    np.testing.assert_array_equal(analysis.affinity.toarray(), weights)
    root = np.diag(weights.sum(1) ** -0.5)
    values = np.linalg.eigvalsh(np.eye(160) - root @ weights @ root)
    np.testing.assert_allclose(analysis.eigenvalues, values[:32], atol=1e-10)


def test_the_order_of_maps_does_not_matter(maps: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(160)
    one = spray.analyse(maps, embedding=None)
    other = spray.analyse(maps[order], embedding=None)
    np.testing.assert_allclose(other.eigenvalues, one.eigenvalues, atol=1e-10)
    np.testing.assert_array_equal(other.labels, one.labels[order])


def test_exchangeable_steps(maps: np.ndarray) -> None:
    corner = planted()[1]
    for options in (
        {"neighbours": 10},
        {"affinity": spray.NearestNeighbours(10, "gaussian")},
        {"affinity": lambda features: spray.NearestNeighbours(9)(features)},
        {"laplacian": "random-walk"},
        {"laplacian": "unnormalised"},
        {"clustering": "agglomerative"},
        {"preprocess": (spray.GaussianLowPass(1.0), spray.SumPool(10), spray.Normalise())},
        {"preprocess": spray.FourierMagnitude()},
        {"preprocess": spray.Identity(), "eigenvalues": 4},
    ):
        found = spray.analyse(maps, clusters=2, embedding=None, **options)
        np.testing.assert_array_equal(found.labels, corner, err_msg=str(options))


def test_a_pattern_that_moves_is_found_by_its_frequencies() -> None:
    generator = np.random.default_rng(0)
    maps = gaussian_filter(generator.normal(size=(160, 32, 32)), (0, 1.5, 1.5))
    maps /= maps.std(axis=(1, 2), keepdims=True)
    striped = generator.random(160) < 0.25
    for number in np.flatnonzero(striped):
        y, x = generator.integers(0, 22, 2)
        maps[number, y : y + 10, x : x + 10] += 2.5 * np.sin(np.arange(10) * np.pi / 2)
    found = spray.analyse(maps, preprocess=(spray.FourierMagnitude(), spray.SumPool()), embedding=None)
    np.testing.assert_array_equal(found.labels, striped)
    assert spray.analyse(maps, clusters=1, embedding=None).gap == 1


def test_part_of_a_file(maps: np.ndarray, tmp_path: Path) -> None:
    wanted = np.arange(0, 160, 2)
    expected = spray.analyse(maps[wanted], clusters=2, embedding=None)
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        found = spray.analyse(file.create_dataset("r", data=maps), index=wanted, clusters=2, embedding=None)
    np.testing.assert_array_equal(found.index, wanted)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.members(1), 2 * np.flatnonzero(expected.labels == 1))


def test_labels_by_name_and_number(analysis: spray.Analysis) -> None:
    assert list(analysis.clusterings) == ["kmeans-2", "kmeans-3"]
    assert analysis.labels is analysis.clusterings["kmeans-2"]
    assert analysis.labels_of(3) is analysis.labels_of("kmeans-3") is analysis.clusterings["kmeans-3"]
    with pytest.raises(InputError, match="not one of kmeans-2, kmeans-3"):
        analysis.labels_of(4)
    with pytest.raises(InputError, match="there is no cluster 2; there are 0, 1"):
        analysis.members(2)
    with pytest.raises(InputError, match="embedding=None"):
        _ = spray.analyse(planted()[0], embedding=None, clusters=2).embedding


def test_saved_and_read(analysis: spray.Analysis, tmp_path: Path) -> None:
    path = tmp_path / "new" / "analysis.h5"
    analysis.save(path)
    analysis.save(path)
    read = spray.Analysis.read(path)
    for name in ("index", "features", "eigenvalues"):
        np.testing.assert_array_equal(getattr(read, name), getattr(analysis, name))
    assert (read.shape, read.components, read.settings) == (analysis.shape, analysis.components, analysis.settings)
    for kind in ("embeddings", "clusterings"):
        assert list(getattr(read, kind)) == list(getattr(analysis, kind))
        for name, values in getattr(analysis, kind).items():
            np.testing.assert_array_equal(getattr(read, kind)[name], values)
    np.testing.assert_array_equal(read.affinity.toarray(), analysis.affinity.toarray())
    assert [file.name for file in path.parent.iterdir()] == ["analysis.h5"]
    assert read.settings["preprocess"] == "SumPool(rows=20, columns=None)" and read.settings["laplacian"] == "symmetric"


def test_a_file_is_written_whole_or_not_at_all(analysis: spray.Analysis, tmp_path: Path) -> None:
    path = tmp_path / "analysis.h5"
    analysis.save(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        replace(analysis, settings={"seed": object()}).save(path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["analysis.h5"]


def test_files_that_are_no_analyses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        spray.Analysis.read(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(InputError, match="is no analysis, or it is damaged"):
        spray.Analysis.read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["index"] = [1]
    with pytest.raises(InputError, match="does not say that it is of the format"):
        spray.Analysis.read(tmp_path / "other.h5")
    with h5py.File(tmp_path / "other.h5", "a") as file:
        file.attrs["format"] = "graphlrp.spray 1"
    with pytest.raises(InputError, match="damaged"):
        spray.Analysis.read(tmp_path / "other.h5")


def test_progress(maps: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    spray.analyse(maps, clusters=2, embedding=spray.TSNE(iterations=250), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 5) for number in range(1, 6)]
    seen.clear()
    spray.rank({"a": maps, "b": maps[:50]}, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    spray.analyse(maps, clusters=2, embedding=None, progress=True)
    assert "spectrum" in capsys.readouterr().err


def test_suspects_by_their_definitions(analysis: spray.Analysis) -> None:
    weights, labels = analysis.affinity.toarray(), analysis.labels_of(3)
    found = {suspect.cluster: suspect for suspect in spray.suspicious(analysis, 3)}
    centre = analysis.features.mean(axis=0)
    for cluster in range(3):
        inside = labels == cluster
        if inside.sum() > 80:
            assert cluster not in found
            continue
        cut = sum(weights[i, j] for i in range(160) for j in range(160) if inside[i] and not inside[j])
        volume, rest = weights[inside].sum(), weights[~inside].sum()
        suspect = found[cluster]
        assert suspect.cut == pytest.approx(cut / volume + cut / rest)
        assert suspect.share == inside.sum() / 160
        own = analysis.features[inside]
        within = np.mean([((row - own.mean(axis=0)) ** 2).sum() for row in own])
        assert suspect.spread == pytest.approx(within / np.mean([((row - centre) ** 2).sum() for row in analysis.features]))
        # The second eigenvalue is the least that a cut can have.
        assert suspect.cut >= analysis.eigenvalues[1] - 1e-12
    assert [suspect.cut for suspect in spray.suspicious(analysis, 3)] == sorted(suspect.cut for suspect in found.values())


def test_what_is_no_suspect() -> None:
    generator = np.random.default_rng(0)
    one = spray.analyse(generator.normal(size=(80, 6)), clusters=1, embedding=None)
    assert spray.suspicious(one) == []
    halves = np.concatenate([generator.normal(size=(30, 6)), generator.normal(size=(30, 6)) + 9])
    both = spray.suspicious(spray.analyse(halves, clusters=2, embedding=None))
    assert [suspect.cut for suspect in both] == [0.0, 0.0]
    # Noise belongs to no cluster.
    noisy = spray.analyse(halves, clusters=2, clustering=lambda rows, count: np.repeat([0, -1, 1], [25, 10, 25]), embedding=None)
    assert [suspect.cluster for suspect in spray.suspicious(noisy, 2)] == [1, 0]


def test_what_has_no_connection_is_a_cluster() -> None:
    """Also if the number of clusters cuts or merges it; of clusterings that agree, one is enough."""
    generator = np.random.default_rng(0)
    centres = np.repeat([0.0, 9.0, 30.0], [50, 20, 30])
    vectors = generator.normal(size=(100, 6)) + centres[:, None]
    cut = spray.analyse(vectors, clusters=4, embedding=None)
    assert cut.components == 3 and list(cut.clusterings) == ["kmeans-4", "components"]
    np.testing.assert_array_equal(cut.clusterings["components"], np.repeat([0, 2, 1], [50, 20, 30]))
    first, *others = spray.suspicious(cut)
    assert first.cut == 0 and first.clustering in cut.clusterings and str(first).startswith(f"cluster {first.cluster} of ")
    positions = {suspect.positions.tobytes() for suspect in (first, *others)}
    assert len(positions) == 1 + len(others)
    assert {np.arange(50, 70).tobytes(), np.arange(70, 100).tobytes()} <= positions
    assert list(spray.analyse(vectors, clusters=3, embedding=None).clusterings) == ["kmeans-3"]


def classes() -> dict[str, np.ndarray]:
    clean = {name: planted(90 + 5 * seed, seed + 1)[0][~planted(90 + 5 * seed, seed + 1)[1]] for seed, name in enumerate("abc")}
    return {**clean, "horse": planted(100, 9)[0]}


def test_ranking() -> None:
    found = spray.rank(classes())
    assert found.classes[0] == "horse"
    second = [values[1] for values in found.eigenvalues.values()]
    assert second == sorted(second) and second[0] < 0.2 * second[1]
    for name, maps in classes().items():
        expected = spray.analyse(maps, embedding=None, clusters=1).eigenvalues[:5]
        np.testing.assert_allclose(found.eigenvalues[name], expected, atol=1e-12)
        assert found.counts[name] == len(maps)
    lines = str(found).splitlines()
    assert len(lines) == 5 and lines[0].split() == ["class", "maps", "λ1", "λ2", "λ3", "λ4", "λ5"]
    assert lines[1].split()[:2] == ["horse", "100"]


def test_ranking_by_labels(tmp_path: Path) -> None:
    together = np.concatenate(list(classes().values()))
    labels = np.repeat(np.arange(4), [len(maps) for maps in classes().values()])
    order = np.random.default_rng(0).permutation(len(labels))
    expected = spray.rank(classes(), neighbours=5, eigenvalues=3)
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        stored = file.create_dataset("r", data=together[order])
        found = spray.rank(stored, labels[order], names=list(classes()), neighbours=5, eigenvalues=3)
    assert found.classes == expected.classes and found.counts == expected.counts
    for name in found.classes:
        np.testing.assert_allclose(found.eigenvalues[name], expected.eigenvalues[name], atol=1e-10)
    assert spray.rank(together[order], labels[order].tolist()).classes[0] == 3


MAPS = np.random.default_rng(0).normal(size=(30, 5, 5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spray.analyse(MAPS[:3], neighbours=3), "3 nearest neighbours need more than 3 maps"),
        (lambda: spray.analyse(MAPS, neighbours=40), "40 nearest neighbours"),
        (lambda: spray.analyse(MAPS, neighbours=3, affinity=spray.NearestNeighbours(3)), "not both"),
        (lambda: spray.analyse(MAPS, clusters=31), "30 maps make 1 to 30 clusters"),
        (lambda: spray.analyse(MAPS, clusters=10, eigenvalues=5), "raise eigenvalues"),
        (lambda: spray.analyse(MAPS, clusters=2.5), "clusters is a number"),
        (lambda: spray.analyse(MAPS, clusters=[]), "clusters is a number"),
        (lambda: spray.analyse(MAPS, eigenvalues=1), "have no gap"),
        (lambda: spray.analyse(MAPS, eigenvalues=0), "at least one eigenvalue"),
        (lambda: spray.analyse(MAPS, laplacian="signless"), "unknown Laplacian"),
        (lambda: spray.analyse(MAPS, affinity=lambda features: np.eye(3)), r"shape \[30, 30\]"),
        (lambda: spray.analyse(np.full((9, 4, 4), np.nan)), "map 0 holds NaN"),
        (lambda: spray.rank(MAPS), "labels="),
        (lambda: spray.rank({}), "labels="),
        (lambda: spray.rank(MAPS, [0, 1]), "2 labels for 30 maps"),
        (lambda: spray.rank(MAPS, np.zeros((30, 2))), "one for every map"),
        (lambda: spray.rank(iter([MAPS]), np.zeros(30)), "read once for every class"),
        (lambda: spray.rank(MAPS, np.arange(30) % 3, names=["a", "b"]), "label 2 has no name"),
        (lambda: spray.rank({"a": MAPS, "b": MAPS[:1]}), "class b: there is one map only"),
        (lambda: spray.rank({"a": MAPS}, eigenvalues=1), "second eigenvalue"),
        (lambda: spray.rank({"a": MAPS}, neighbours=3, affinity=lambda features: np.eye(30)), "not both"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        make()
    assert isinstance(error.value, GraphLRPError) and "\n" not in str(error.value)


def test_more_components_than_eigenvalues() -> None:
    groups = np.repeat(np.arange(12), 8)[:, None] * 100.0 + np.random.default_rng(0).normal(size=(96, 3))
    with pytest.raises(InputError, match="more components than eigenvalues"):
        spray.analyse(groups, neighbours=5, eigenvalues=10)
    found = spray.analyse(groups, neighbours=5, eigenvalues=20, embedding=None)
    assert found.components == found.gap == 12
    assert isinstance(spray.rank({"a": groups}, neighbours=5), Ranking)
