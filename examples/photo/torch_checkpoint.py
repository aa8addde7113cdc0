"""Reads a PyTorch checkpoint into numpy arrays, without PyTorch and without running what the file asks for.

A ``.pth`` file is a pickle, and a pickle is a program: loading it with :mod:`pickle` runs whatever it names.
The reader below knows the three callables that a dictionary of tensors needs and refuses every other one.

Layout of a checkpoint as ``torch.save`` wrote it before PyTorch 1.6, one part after the other:

1. pickle of the magic number
2. pickle of the protocol version, 1001
3. pickle of facts about the machine that wrote it
4. pickle of the object, in which a tensor is a storage key, an offset, a shape and strides
5. pickle of the list of storage keys
6. for each key in that order: the number of elements as a little-endian int64, then the elements
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
ZIP_SIGNATURE = b"PK\x03\x04"

STORAGE_TYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class StorageReference(NamedTuple):
    """The block of elements, later in the file, that a tensor is a view of."""

    key: str
    dtype: np.dtype[Any]
    elements: int


class TensorReference(NamedTuple):
    """A tensor as the pickle describes it; offset and strides count elements."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_checkpoint(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a checkpoint.

    Args:
        path: a ``.pth`` file that holds a dictionary from names to tensors (a "state dict"), written by
            ``torch.save`` in the format of PyTorch before 1.6.

    Returns:
        Name to array, in the order of the file; every array is contiguous and owns its data.

    Raises:
        ValueError: the file has another format, is truncated, or its tensors do not fit their storages.
        pickle.UnpicklingError: the pickle wants a callable that a dictionary of tensors does not need.
    """
    with open(path, "rb") as file:
        if file.read(len(ZIP_SIGNATURE)) == ZIP_SIGNATURE:
            raise ValueError(f"{path}: this is the zip format of PyTorch 1.6 and later; only the older one is read here")
        file.seek(0)
        if _RestrictedUnpickler(file).load() != MAGIC_NUMBER:
            raise ValueError(f"{path}: this is no PyTorch checkpoint: its magic number is wrong")
        if (version := _RestrictedUnpickler(file).load()) != PROTOCOL_VERSION:
            raise ValueError(f"{path}: checkpoint protocol {version!r} is unknown, expected {PROTOCOL_VERSION}")
        machine = _RestrictedUnpickler(file).load()
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise ValueError(f"{path}: only checkpoints of little-endian machines can be read, this one says {machine!r}")
        references = _RestrictedUnpickler(file).load()
        if not isinstance(references, dict) or not all(isinstance(value, TensorReference) for value in references.values()):
            raise ValueError(f"{path}: the checkpoint is not a dictionary from names to tensors")
        keys = _RestrictedUnpickler(file).load()
        dtypes = {reference.storage.key: reference.storage for reference in references.values()}
        storages = {key: _read_storage(file, dtypes[key]) for key in keys}
    return {str(name): _view(str(name), reference, storages) for name, reference in references.items()}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that can build ordered dictionaries and describe tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _describe_tensor
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}, which no dictionary of tensors needs: not loaded")

    def persistent_load(self, identifier: Any) -> StorageReference:
        kind, dtype, key, _device, elements, view = identifier
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError(f"the checkpoint refers to {identifier!r}, which is no plain storage")
        return StorageReference(str(key), dtype, int(elements))


def _describe_tensor(
    storage: StorageReference,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    _requires_gradient: bool = False,
    _backward_hooks: object = None,
    _metadata: object = None,
) -> TensorReference:
    """Stand in for the function that rebuilds a tensor: note where its elements will be found."""
    if not isinstance(storage, StorageReference):
        raise pickle.UnpicklingError(f"the checkpoint builds a tensor from {storage!r}, which is no storage")
    return TensorReference(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _read_storage(file: BinaryIO, reference: StorageReference) -> NDArray[Any]:
    (elements,) = struct.unpack("<q", _read_exactly(file, 8))
    if elements != reference.elements:
        raise ValueError(f"storage {reference.key} holds {elements} elements, its tensors expect {reference.elements}")
    return np.frombuffer(_read_exactly(file, elements * reference.dtype.itemsize), reference.dtype)


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError(f"the checkpoint is truncated: {size} more bytes expected, {len(content)} found")
    return content


def _view(name: str, reference: TensorReference, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """The array [shape] of a tensor, whose strides need not be those of a contiguous one."""
    storage = storages[reference.storage.key]
    if reference.offset < 0 or min(reference.strides, default=0) < 0 or min(reference.shape, default=0) < 0:
        raise ValueError(f"tensor {name}: negative offset, shape or strides: {reference}")
    if 0 in reference.shape:
        return np.empty(reference.shape, storage.dtype)
    # A stride too large would let numpy read memory outside of the storage.
    last = reference.offset + sum((size - 1) * stride for size, stride in zip(reference.shape, reference.strides, strict=True))
    if last >= storage.size:
        raise ValueError(f"tensor {name} reaches element {last} of a storage of {storage.size}")
    strides = [stride * storage.itemsize for stride in reference.strides]
    return np.lib.stride_tricks.as_strided(storage[reference.offset :], reference.shape, strides).copy(order="C")
