"""Read two old formats of weights without running code: the tar archives of torch before 0.1.10, and pickles of numpy arrays.

torchvision's first files (resnet50-19c8e357.pth) are such archives, and detectron2 keeps backbones as such pickles. An unpickler
here knows a closed list of names, and calls functions of this module in place of those that a file names.
"""

import pickle
import struct
import tarfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

MEMBERS = ("storages", "tensors", "pickle")  # of torch's archives
CORES = ("numpy.core", "numpy._core")  # the module's name before and since numpy 2


class Unknown(ValueError):
    """Report that a file names something that is not on the list."""


class OtherArchive(ValueError):
    """Report that a tar archive is not one of torch's."""


class Variable:
    """Stand for a ``Parameter`` or ``Variable`` of old torch; ``data`` is its tensor."""

    def __new__(cls, data: Tensor | None = None, *rest):
        self = super().__new__(cls)
        self.data = data
        return self

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state: tuple) -> None:
        self.data = state[0] if isinstance(state[0], Tensor) else self.data


class TensorType:
    """Stand for the class of a tensor, such as torch.FloatTensor, whose dtype its storage has."""


def _array(*_) -> np.ndarray:
    """Return an empty array, whose shape and values the pickle sets next."""
    return np.ndarray((0,), np.uint8)


def _latin1(text: str, encoding: str) -> bytes:
    """Return the bytes that Python 2 wrote as text."""
    if encoding != "latin1":
        raise Unknown(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


ARRAYS = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "_codecs.encode": _latin1,
    "collections.OrderedDict": OrderedDict,
    **{f"{core}.multiarray._reconstruct": _array for core in CORES},
    **{f"{core}.multiarray.scalar": lambda dtype, value: np.frombuffer(value, dtype)[0] for core in CORES},
    **{
        f"{core}.numeric._frombuffer": lambda data, dtype, shape, order: np.frombuffer(data, dtype).reshape(shape, order=order)
        for core in CORES
    },
}
DTYPES = {
    **dict(Double=torch.float64, Float=torch.float32, Half=torch.float16, Long=torch.int64, Int=torch.int32),
    **dict(Short=torch.int16, Char=torch.int8, Byte=torch.uint8),
}
TENSORS = {
    "collections.OrderedDict": OrderedDict,
    "torch.nn.parameter.Parameter": Variable,
    "torch.autograd.variable.Variable": Variable,
    **{f"{module}.{name}Storage": dtype for module in ("torch", "torch.cuda") for name, dtype in DTYPES.items()},
    **{f"{module}.{name}Tensor": TensorType for module in ("torch", "torch.cuda") for name in DTYPES},
}


class ClosedUnpickler(pickle.Unpickler):
    """Unpickle plain values and what ``allowed`` lists by name; ``tensors`` holds those that the pickle refers to by number."""

    def __init__(self, file: IO[bytes], allowed: dict[str, Any], tensors: dict[int, Tensor] | None = None):
        super().__init__(file, encoding="latin1")
        self.allowed, self.tensors = allowed, tensors or {}

    def find_class(self, module: str, name: str) -> Any:
        if (full := f"{module}.{name}") not in self.allowed:
            raise Unknown(full)
        return self.allowed[full]

    def persistent_load(self, number) -> Any:
        return self.tensors[int(number)]


def read_arrays(path: Path) -> Any:
    """Return the content of a pickle of plain values and numpy arrays.

    Raises:
        Unknown: it names anything else.
    """
    with open(path, "rb") as file:
        return ClosedUnpickler(file, ARRAYS).load()


def read_archive(path: Path) -> Any:
    """Return the content of a tar archive that torch before 0.1.10 wrote: plain values and tensors.

    Raises:
        Unknown: it names anything else.
        OtherArchive: torch has not written it.
        ValueError, EOFError, struct.error, ...: it is damaged.
    """
    with tarfile.open(path, "r:") as archive:
        names = archive.getnames()
        if not set(MEMBERS) <= set(names):
            raise OtherArchive(f"is a tar archive of {', '.join(names[:3])}; unpack it, and give the file of weights in it")
        storages = _storages(archive.extractfile("storages"))
        tensors = _tensors(archive.extractfile("tensors"), storages)
        return _plain(ClosedUnpickler(archive.extractfile("pickle"), TENSORS, tensors).load())


def _storages(file: IO[bytes]) -> dict[int, Tensor]:
    """Return the storages of an archive as flat tensors.

    For each there is a pickle of its number, device and type, its length, and its values.
    """
    storages = {}
    for _ in range(ClosedUnpickler(file, TENSORS).load()):
        number, _, dtype = ClosedUnpickler(file, TENSORS).load()
        (count,) = struct.unpack("<q", file.read(8))
        size = count * dtype.itemsize
        values = file.read(size)
        if count < 0 or len(values) != size:
            raise EOFError("a storage is cut short")
        storages[number] = torch.frombuffer(bytearray(values), dtype=dtype) if count else torch.empty(0, dtype=dtype)
    for number, root, offset, count in ClosedUnpickler(file, TENSORS).load():  # parts of other storages
        storages[number] = storages[root][offset : offset + count]
    return storages


def _tensors(file: IO[bytes], storages: dict[int, Tensor]) -> dict[int, Tensor]:
    """Return the tensors of an archive: for each a pickle of its number, storage and type, then shape, strides and offset."""
    tensors = {}
    for _ in range(ClosedUnpickler(file, TENSORS).load()):
        number, storage, _ = ClosedUnpickler(file, TENSORS).load()
        dimensions, _ = struct.unpack("<ii", file.read(8))
        shape, strides = (struct.unpack(f"<{dimensions}q", file.read(8 * dimensions)) for _ in range(2))
        (offset,) = struct.unpack("<q", file.read(8))
        tensors[number] = storages[storage].as_strided(shape, strides, offset)  # refuses to reach out of the storage
    return tensors


def _plain(value: Any) -> Any:
    """Replace each ``Variable`` in nested dicts by its tensor."""
    if isinstance(value, Variable):
        return value.data
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value
