"""The files of an exported project are laid out as ViRelAy reads them; acceptance/test_virelay.py asks ViRelAy itself."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

import graphlrp
from graphlrp import stores
from graphlrp.stores.journal import JournaledFile
from tests.stores.models import any_size, classifier, samples, score, segmentation

COUNT = 11
LABELS = np.arange(COUNT) % 3
NAMES = ["cat", "dog", "bird"]
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 6, 6), dtype=np.uint8)


@dataclass(frozen=True)
class Found:
    """As much of an analysis as is exported."""

    index: Any
    clusterings: dict[str, Any]
    embeddings: dict[str, Any]
    eigenvalues: Any = None


def found(rows: Any) -> Found:
    generator = np.random.default_rng(1)
    places = {"spectral": generator.normal(size=(len(rows), 4)), "tsne": generator.normal(size=(len(rows), 2))}
    return Found(np.asarray(rows), {"kmeans-2": np.arange(len(rows)) % 2}, places, np.arange(4) / 10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Store]:
    path = tmp_path_factory.mktemp("store") / "r.h5"
    with stores.write(path, graphlrp.load(classifier(), "epsilon"), samples(COUNT, 2, 6, 6), labels=LABELS) as written:
        yield written


def test_layout(tmp_path: Path, store: stores.Store) -> None:
    analyses = {0: found(store.of_class(0)), "all": found(range(COUNT))}
    path = stores.export_virelay(tmp_path / "new" / "project", store, IMAGES, NAMES, analyses, batch_size=4)
    assert path == tmp_path / "new" / "project" / "project.yaml"
    project = yaml.safe_load(path.read_text())["project"]
    assert project["attributions"]["attribution_strategy"] == "predicted_label"
    assert project["attributions"]["attribution_method"] == "epsilon"
    assert json.loads((path.parent / project["label_map"]).read_text()) == [
        {"index": k, "word_net_id": str(k), "name": name} for k, name in enumerate(NAMES)
    ]
    with h5py.File(path.parent / project["dataset"]["path"]) as file:
        np.testing.assert_array_equal(file["data"][:], IMAGES)
        assert file["data"].dtype == np.uint8 and file["data"].chunks == (1, 3, 6, 6)
        np.testing.assert_array_equal(file["label"][:], LABELS)
    with h5py.File(path.parent / project["attributions"]["sources"][0]) as file:
        assert set(file) == {"index", "attribution", "label", "prediction"}
        assert file["attribution"].shape == (COUNT, 3, 6, 6) and file["attribution"].dtype == np.float32
        np.testing.assert_allclose(file["attribution"][:].sum(axis=1), store.relevance[:].sum(axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(file["index"][:], np.arange(COUNT))
        np.testing.assert_array_equal(file["label"][:], LABELS)
        np.testing.assert_array_equal(file["prediction"][:], store.output[:])
    (analysis,) = project["analyses"]
    assert analysis["analysis_method"] == "spectral_analysis"
    with h5py.File(path.parent / analysis["sources"][0]) as file:
        assert set(file) == {"0", "all"}
        for category, own in zip(("0", "all"), analyses.values(), strict=True):
            np.testing.assert_array_equal(file[category]["index"][:], own.index)
            np.testing.assert_array_equal(file[category]["cluster/kmeans-2"][:], own.clusterings["kmeans-2"])
            np.testing.assert_allclose(file[category]["embedding/tsne"][:], own.embeddings["tsne"], rtol=1e-6)
            np.testing.assert_allclose(file[category]["embedding/spectral"].attrs["eigenvalue"], own.eigenvalues, rtol=1e-6)
            assert "eigenvalue" not in file[category]["embedding/tsne"].attrs
    assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("kind", ["channels last", "list", "generator", "grey", "one channel", "hdf5"])
def test_pictures_come_in_any_form(tmp_path: Path, store: stores.Store, kind: str) -> None:
    expected = IMAGES
    images: Any = {
        "channels last": np.moveaxis(IMAGES, 1, -1),
        "list": list(IMAGES),
        "generator": (np.moveaxis(image, 0, -1) for image in IMAGES),
        "grey": IMAGES[:, 0],
        "one channel": IMAGES[:, :1],
        "hdf5": IMAGES,
    }[kind]
    if kind in ("grey", "one channel"):
        expected = np.repeat(IMAGES[:, :1], 3, axis=1)
    if kind == "hdf5":
        with h5py.File(tmp_path / "images.h5", "w") as file:
            file["x"] = IMAGES
            stores.export_virelay(tmp_path, store, file["x"], NAMES, batch_size=3)
    else:
        stores.export_virelay(tmp_path, store, images, NAMES, batch_size=3)
    with h5py.File(tmp_path / "dataset.h5") as file:
        data = file["data"]
        # A generator may yield pictures of several sizes, so they get names.
        assert isinstance(data, h5py.Group) == (kind == "generator")
        got = [data[name][:] for name in data] if kind == "generator" else data[:]
        np.testing.assert_array_equal(got, expected)


def test_several_sizes_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    x = [samples(1, 3, 5 + k, 7)[0] for k in range(12)]
    images = [np.full((5 + k, 7, 3), k, np.uint8) for k in range(12)]
    with stores.write(tmp_path / "r.h5", graphlrp.load(any_size()), x, labels=[0] * 12) as written:
        stores.export_virelay(tmp_path / "p", written, images, NAMES)
        for name, kind in (("dataset.h5", "data"), ("attributions.h5", "attribution")):
            with h5py.File(tmp_path / "p" / name) as file:
                assert [file[kind][key].shape for key in file[kind]] == [(3, 5 + k, 7) for k in range(12)]
                values = [file[kind][key][:] for key in file[kind]]
            for k in range(12):
                np.testing.assert_array_equal(
                    values[k], np.moveaxis(images[k], -1, 0) if kind == "data" else written.relevance[k]
                )


@pytest.mark.parametrize(
    ("label_map", "expected"),
    [
        (None, ["class 0", "class 1", "class 2"]),
        (NAMES, NAMES),
        ({2: "bird", 0: "cat", 1: "dog"}, NAMES),
        ([{"index": k, "word_net_id": f"n{k}", "name": name} for k, name in enumerate(NAMES)], NAMES),
    ],
    ids=["none", "list", "numbers", "whole"],
)
def test_label_maps(tmp_path: Path, store: stores.Store, label_map: Any, expected: list[str]) -> None:
    stores.export_virelay(tmp_path, store, IMAGES, label_map)
    entries = json.loads((tmp_path / "labels.json").read_text())
    assert [entry["name"] for entry in entries] == expected
    assert [entry["index"] for entry in entries] == [0, 1, 2]
    assert {type(entry["word_net_id"]) for entry in entries} == {str}


def test_the_strategy_is_what_was_explained(tmp_path: Path) -> None:
    explainer = graphlrp.load(classifier(), "epsilon")
    x = samples(COUNT, 2, 6, 6)
    labels = (explainer.predict(x).argmax(axis=1) + 1) % 3
    for target, expected in ((None, "predicted_label"), ("labels", "true_label"), (2, "chosen_label")):
        with stores.write(tmp_path / "r.h5", explainer, x, target, labels=labels, overwrite=True) as written:
            path = stores.export_virelay(tmp_path / "p", written, IMAGES, NAMES)
        assert yaml.safe_load(path.read_text())["project"]["attributions"]["attribution_strategy"] == expected


def test_an_analysis_is_of_rows_of_the_store(tmp_path: Path) -> None:
    positions = np.array([40, 7, 23, 8, 0])
    images = np.zeros((50, 3, 6, 6), np.uint8)
    labels = np.arange(50) % 3
    with stores.write(tmp_path / "r.h5", graphlrp.load(classifier()), samples(5, 2, 6, 6), index=positions) as written:
        stores.export_virelay(tmp_path / "p", written, images, NAMES, {"some": found([1, 3, 4])}, labels=labels)
    with h5py.File(tmp_path / "p" / "analysis.spectral_analysis.h5") as file:
        assert file["some/index"][:].tolist() == [7, 8, 0]
    with h5py.File(tmp_path / "p" / "attributions.h5") as file:
        assert file["index"][:].tolist() == positions.tolist()
        assert file["label"][:].tolist() == labels[positions].tolist()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": IMAGES / 255.0}, "bytes from 0 to 255, these are float64"),
        ({"images": IMAGES[:5]}, "relevance of picture 10, but there are 5"),
        ({"images": IMAGES[:, :2]}, "1 or 3 channels, not 2"),
        ({"images": IMAGES[:, :, :2]}, "6 x 2 pixels are too few"),
        ({"images": np.zeros((COUNT, 4), np.uint8)}, "is no picture"),
        ({"images": []}, "no pictures"),
        ({"images": np.concatenate([IMAGES, IMAGES])}, "labels of 11 of 22 pictures: give labels="),
        ({"labels": LABELS[:4]}, "4 labels for 11"),
        ({"labels": LABELS / 2}, "class indices"),
        ({"labels": LABELS + 1}, "no name for class 3"),
        ({"label_map": ["cat"]}, "no name for class 1"),
        ({"label_map": [{"name": "cat"}]}, "a label map is"),
        ({"label_map": []}, "a label map is"),
        ({"analyses": {7: found(range(3))}}, "no name for class 7"),
        ({"analyses": {0: found([0, COUNT])}}, "rows of the store, 0 to 10"),
        ({"analyses": {0: found([])}}, "rows of the store"),
        ({"analyses": {"a/b": found(range(3))}}, "'a/b' is no name"),
        ({"analyses": {0: replace(found(range(3)), clusterings={})}}, "no clusterings"),
        ({"analyses": {0: replace(found(range(3)), embeddings={})}}, "no embeddings"),
        ({"analyses": {0: replace(found(range(3)), clusterings={"k": [1]})}}, "'k' of '0' has 1 entries for 3"),
        ({"analyses": {0: replace(found(range(3)), embeddings={"tsne": np.zeros((3, 2))})}}, "no embedding 'spectral'"),
        ({"analyses": {0: replace(found(range(3)), embeddings={"spectral": np.full((3, 2), np.nan)})}}, "finite"),
        ({"analyses": {0: found(range(3))}, "analysis_name": "a/b"}, "no name for an analysis"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit(tmp_path: Path, store: stores.Store, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(graphlrp.InputError, match=message):
        stores.export_virelay(tmp_path / "p", store, **{"images": IMAGES, "label_map": NAMES, **changed})
    assert not (tmp_path / "p" / "project.yaml").exists()


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    with stores.write(tmp_path / "a.h5", graphlrp.load(classifier()), samples(3, 2, 6, 6)) as written:
        with pytest.raises(graphlrp.InputError, match="true class of every picture"):
            stores.export_virelay(tmp_path / "p", written, IMAGES[:3])
        (tmp_path / "file").write_text("")
        with pytest.raises(graphlrp.InputError, match=f"cannot write .*file: {os.strerror(errno.EEXIST)}"):
            stores.export_virelay(tmp_path / "file", written, IMAGES[:3], NAMES, labels=[0, 1, 2])
    for model, x, message in (
        (score(), samples(3, 5), "is no picture"),
        (segmentation(), samples(3, 3, 6, 6), "one number per class"),
    ):
        written = stores.write(tmp_path / "b.h5", graphlrp.load(model), x, labels=[0, 0, 0], overwrite=True)
        with written, pytest.raises(graphlrp.InputError, match=message):
            stores.export_virelay(tmp_path / "p", written, IMAGES[:3])
    assert not (tmp_path / "p").exists() or list((tmp_path / "p").iterdir()) == []


def test_pictures_that_cannot_be_read(tmp_path: Path, store: stores.Store) -> None:
    def images() -> Iterator[np.ndarray]:
        yield IMAGES[0]
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "photo.png")

    with pytest.raises(graphlrp.InputError, match=r"pictures from 0 on cannot be read: .*photo\.png"):
        stores.export_virelay(tmp_path, store, images(), NAMES)


def test_a_full_disk_leaves_an_earlier_export(tmp_path: Path, store: stores.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.export_virelay(tmp_path, store, IMAGES, NAMES)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(JournaledFile, "_write_at", full)
    with pytest.raises(graphlrp.InputError, match=r"cannot write .*: No space left on device"):
        stores.export_virelay(tmp_path, store, 255 - IMAGES, NAMES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
