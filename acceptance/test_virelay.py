"""Projects that are exported are opened by ViRelAy itself and read through its HTTP interface (opt-in: needs virelay).

ViRelAy pins versions of its dependencies, so it is best installed into an environment of its own, with GraphLRP beside it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

import graphlrp
from graphlrp import stores
from tests.stores.models import any_size, classifier, samples

pytest.importorskip("virelay")

from virelay.application import run_wsgi_app

COUNT = 30
CLASSES = ["cat", "dog", "bird"]
COLOUR_MAPS = 8


@dataclass(frozen=True)
class Found:
    """As much of an analysis as is exported."""

    index: np.ndarray
    clusterings: dict[str, np.ndarray]
    embeddings: dict[str, np.ndarray]
    eigenvalues: np.ndarray | None


def analysis(index: np.ndarray, clusters: int = 2) -> Found:
    generator = np.random.default_rng(len(index))
    embeddings = {"spectral": generator.normal(size=(len(index), 5)), "tsne": generator.normal(size=(len(index), 2))}
    return Found(
        index, {f"kmeans-{clusters}": generator.integers(0, clusters, len(index))}, embeddings, np.sort(generator.random(5))
    )


class Client:
    """The application, asked as a browser asks it."""

    def __init__(self, *projects: Path) -> None:
        self._client = run_wsgi_app([str(path) for path in projects]).test_client()

    def json(self, url: str) -> Any:
        answer = self._client.get(url)
        assert answer.status_code == 200, f"{url}: {answer.status_code} {answer.get_data(as_text=True)[:300]}"
        return answer.get_json()

    def picture(self, url: str) -> np.ndarray:
        answer = self._client.get(url)
        assert answer.status_code == 200, f"{url}: {answer.status_code} {answer.get_data(as_text=True)[:300]}"
        with Image.open(io.BytesIO(answer.get_data())) as image:
            return np.asarray(image)


@pytest.fixture(scope="module")
def explainer() -> graphlrp.Explainer:
    return graphlrp.load(classifier(), "epsilon-plus")


def pictures(count: int, *shape: int) -> np.ndarray:
    """Bytes without edges, which JPEG would blur: every picture has one colour."""
    generator = np.random.default_rng(1)
    colours = generator.integers(0, 256, (count, *[1] * (len(shape) - 1), shape[-1]), dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(colours, (count, *shape)))


def check_picture(client: Client, number: int, picture: np.ndarray) -> None:
    """[H, W, 3] as it was, but for JPEG."""
    assert client.json(f"/api/projects/0/dataset/{number}")["url"] == f"/api/projects/0/dataset/{number}/image"
    shown = client.picture(f"/api/projects/0/dataset/{number}/image")
    assert shown.shape == picture.shape
    assert np.abs(shown.astype(int) - picture).max() <= 6


def check_heatmaps(client: Client, number: int, relevance: np.ndarray) -> None:
    """All colour maps are drawn, alone and over the picture; one of them is checked to be that of R / max |R|."""
    one = client.json(f"/api/projects/0/attributions/{number}?imageMode=attribution")
    assert len(one["urls"]) == COLOUR_MAPS
    for url in one["urls"].values():
        assert client.picture(url).shape == (*relevance.shape, 3)
    for url in client.json(f"/api/projects/0/attributions/{number}?imageMode=overlay")["urls"].values():
        client.picture(url)
    shade = matplotlib.colormaps["bwr"](relevance.astype(np.float64) / np.abs(relevance).max() / 2 + 0.5)[..., :3]
    drawn = client.picture(one["urls"]["blue-white-red"]).astype(int)
    difference = np.abs(drawn - as_jpeg((255 * shade).astype(np.uint8)))
    assert difference.mean() < 1 and difference.max() < 16


def as_jpeg(picture: np.ndarray) -> np.ndarray:
    """What JPEG leaves of a picture."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=70)
    with Image.open(file) as image:
        return np.asarray(image)


def test_a_project_is_what_was_written(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    x = samples(COUNT, 2, 6, 6)
    labels = np.random.default_rng(2).integers(0, 3, COUNT)
    images = pictures(COUNT, 6, 6, 3)
    with stores.write(tmp_path / "r.h5", explainer, x, labels=labels) as store:
        relevance, output = store.relevance[:], store.output[:]
        found = {c: analysis(store.of_class(c)) for c in range(3)} | {"all samples": analysis(np.arange(COUNT))}
        project = stores.export_virelay(
            tmp_path / "project", store, images, CLASSES, found, project_name="Grün", model_name="net"
        )
    client = Client(project)
    assert client.json("/api/projects") == [{"id": 0, "name": "Grün", "model": "net", "dataset": "data set"}]
    described = client.json("/api/projects/0")
    (method,) = described["analysisMethods"]
    assert method["name"] == "spectral-analysis"
    assert (method["clusterings"], method["embeddings"]) == (["kmeans-2"], ["spectral", "tsne"])
    categories = {entry["name"]: entry["humanReadableName"] for entry in method["categories"]}
    assert categories == {"0": "cat", "1": "dog", "2": "bird", "all samples": ""}
    for number in range(COUNT):
        expected = [{"index": labels[number], "name": CLASSES[labels[number]], "wordNetId": str(labels[number])}]
        sample = client.json(f"/api/projects/0/dataset/{number}")
        assert (sample["index"], sample["labels"], sample["width"], sample["height"]) == (number, expected, 6, 6)
        check_picture(client, number, images[number])
        one = client.json(f"/api/projects/0/attributions/{number}")
        assert (one["index"], one["labels"], one["width"], one["height"]) == (number, expected, 6, 6)
        np.testing.assert_allclose(one["prediction"], output[number], rtol=1e-6)
    for number in (0, 7, COUNT - 1):
        check_heatmaps(client, number, relevance[number].sum(axis=0))
    several = client.json("/api/projects/0/attributions?indices=3,1,20")
    assert [one["index"] for one in several] == [3, 1, 20]
    for category, own in zip(categories, found.values(), strict=True):
        for embedding, places in own.embeddings.items():
            url = f"/api/projects/0/analyses/spectral-analysis?category={category}&clustering=kmeans-2&embedding={embedding}"
            shown = client.json(url)
            assert shown["categoryName"] == category and shown["humanReadableCategoryName"] == categories[category]
            assert [point["attributionIndex"] for point in shown["embedding"]] == own.index.tolist()
            assert [point["cluster"] for point in shown["embedding"]] == own.clusterings["kmeans-2"].tolist()
            np.testing.assert_allclose([point["value"] for point in shown["embedding"]], places, rtol=1e-6)
            assert ("eigenvalues" in shown) == (embedding == "spectral")
            if embedding == "spectral":
                np.testing.assert_allclose(shown["eigenvalues"], own.eigenvalues, rtol=1e-6)


def test_part_of_a_data_set_in_another_order(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    x = samples(COUNT, 2, 6, 6)
    chosen = np.random.default_rng(3).permutation(100)[:COUNT]
    labels = np.random.default_rng(4).integers(0, 3, 100)
    images = pictures(100, 6, 6, 3)
    with stores.write(tmp_path / "r.h5", explainer, x, labels[chosen], index=chosen, dtype="float16") as store:
        found = {1: analysis(store.of_class(1)), 2: analysis(store.of_class(2), clusters=3)}
        project = stores.export_virelay(tmp_path / "project", store, images, CLASSES, found, labels=labels)
        relevance, output = store.relevance[:], store.output[:]
    client = Client(project)
    for row, position in enumerate(chosen.tolist()):
        one = client.json(f"/api/projects/0/attributions/{position}")
        assert one["index"] == position and one["labels"][0]["index"] == labels[position]
        np.testing.assert_allclose(one["prediction"], output[row], rtol=1e-6)
        if row % 10 == 0:
            check_picture(client, position, images[position])
            check_heatmaps(client, position, relevance[row].sum(axis=0))
    # Clusterings of other names make another analysis.
    methods = {entry["name"]: entry for entry in client.json("/api/projects/0")["analysisMethods"]}
    for c, name, clusters in ((1, "spectral-analysis", 2), (2, "spectral-analysis-2", 3)):
        assert methods[name]["clusterings"] == [f"kmeans-{clusters}"]
        assert [entry["humanReadableName"] for entry in methods[name]["categories"]] == [CLASSES[c]]
        shown = client.json(f"/api/projects/0/analyses/{name}?category={c}&clustering=kmeans-{clusters}&embedding=tsne")
        positions = [point["attributionIndex"] for point in shown["embedding"]]
        np.testing.assert_array_equal(labels[positions], c)


def test_grey_pictures_with_several_labels(tmp_path: Path) -> None:
    x = samples(5, 3, 8, 10)
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 1, 0]], bool)
    images = pictures(5, 8, 10, 1)[..., 0]
    explainer = graphlrp.load(any_size())
    names = [{"index": k, "word_net_id": f"n0000{k}", "name": name} for k, name in enumerate(CLASSES)]
    with stores.write(tmp_path / "r.h5", explainer, x, labels=labels) as store:
        project = stores.export_virelay(tmp_path / "project", store, images, names, {0: analysis(np.arange(5))})
        relevance = store.relevance[:]
    client = Client(project)
    assert client.json("/api/projects/0")["analysisMethods"][0]["categories"] == [{"name": "n00000", "humanReadableName": "cat"}]
    for number in range(5):
        check_picture(client, number, np.repeat(images[number][..., None], 3, axis=-1))
        check_heatmaps(client, number, relevance[number].sum(axis=0))
        for kind in ("dataset", "attributions"):
            shown = [label["name"] for label in client.json(f"/api/projects/0/{kind}/{number}")["labels"]]
            assert shown == [name for name, there in zip(CLASSES, labels[number], strict=True) if there]


@pytest.mark.parametrize("first", ["channels", "rows"])
def test_pictures_of_several_sizes(tmp_path: Path, first: str) -> None:
    explainer = graphlrp.load(any_size())
    x = [samples(1, 3, 6 + k, 17 - k)[0] for k in range(12)]
    images = [pictures(12, 6 + k, 17 - k, 3)[k] for k in range(12)]
    given = (np.moveaxis(image, -1, 0) if first == "channels" else image for image in images)
    with stores.write(tmp_path / "r.h5", explainer, x, labels=np.arange(12) % 3) as store:
        project = stores.export_virelay(tmp_path / "project", store, given, CLASSES, batch_size=5)
        relevance = store.relevance[:]
    client = Client(project)
    assert client.json("/api/projects/0")["analysisMethods"] == []
    for number in range(12):
        check_picture(client, number, images[number])
        check_heatmaps(client, number, relevance[number].sum(axis=0))
        assert client.json(f"/api/projects/0/attributions/{number}")["labels"][0]["name"] == CLASSES[number % 3]


def test_pictures_of_one_channel_and_names_of_the_model(tmp_path: Path) -> None:
    """Relevance of one channel has to be spread over three, or ViRelAy fails to draw it."""
    from tests.networks import Network, TensorProto

    generator = np.random.default_rng(5)
    net = Network(TensorProto.FLOAT, x=("N", 1, 5, 5))
    model = net.model(net("Gemm", net("Flatten", "x"), generator.normal(size=(25, 12)))).SerializeToString()
    x = samples(4, 1, 5, 5)
    with stores.write(tmp_path / "r.h5", graphlrp.load(model), x, labels=[11, 2, 3, 4]) as store:
        found = {11: analysis(np.arange(4))}
        project = stores.export_virelay(tmp_path / "project", store, pictures(4, 5, 5, 1), None, found)
        relevance = store.relevance[:]
    client = Client(project)
    # Numbers have as many digits, so that ViRelAy's alphabetical order is theirs.
    assert client.json("/api/projects/0/dataset/1")["labels"] == [{"index": 2, "name": "class 2", "wordNetId": "02"}]
    assert client.json("/api/projects/0")["analysisMethods"][0]["categories"] == [{"name": "11", "humanReadableName": "class 11"}]
    for number in range(4):
        check_heatmaps(client, number, relevance[number, 0])


def test_two_projects_and_long_spectra(tmp_path: Path, explainer: graphlrp.Explainer) -> None:
    x, images = samples(COUNT, 2, 6, 6), pictures(COUNT, 6, 6, 3)
    found = analysis(np.arange(COUNT))
    long = Found(found.index, found.clusterings, found.embeddings, np.linspace(0, 1, 20_000))
    paths = []
    with stores.write(tmp_path / "r.h5", explainer, x, labels=np.zeros(COUNT, int)) as store:
        for name in ("one", "other"):
            options = {"project_name": name, "analysis_name": "SpRAy-runs"}
            paths.append(stores.export_virelay(tmp_path / name, store, images, CLASSES, {0: long}, **options))
    client = Client(*paths)
    assert [entry["name"] for entry in client.json("/api/projects")] == ["one", "other"]
    shown = client.json("/api/projects/1/analyses/SpRAy-runs?category=0&clustering=kmeans-2&embedding=spectral")
    assert len(shown["eigenvalues"]) == 20_000
