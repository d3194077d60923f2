"""Read files of weights of any common format without running any code that they contain."""

import difflib
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from backbones.common.files import check_archive, sha256, zip_entries
from backbones.interchange.old_formats import OtherArchive, Unknown, read_archive, read_arrays


class Ignored:
    """Replace an object stored beside the weights: its data is read, but nothing of it is run or kept."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state) -> None:
        pass


# Checkpoints of mmengine's runner hold beside tensors the history of each logged value, with its four statistics as
# getattr(HistoryBuffer, name), in numpy's arrays and scalars (numpy.core is numpy._core since numpy 2). The training scripts of
# timm and torchvision save an argparse.Namespace, Lightning's callbacks a path. None of these is called: unpickling calls
# ``Ignored`` instead.
BESIDE_WEIGHTS = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
    "numpy.ndarray",
    "numpy.dtype",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "argparse.Namespace",
    *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
)
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # begins the pickles of torch 0.1.10 to 1.5
OTHER_KINDS = (  # how a file begins that is no file of weights, and what to do
    (rb"version https://git-lfs", "is a pointer of Git LFS and not the file itself; run git lfs pull in its clone"),
    (rb"\s*<(!DOCTYPE|html|\?xml)", "is a web page, as a failed download leaves it; download the file itself"),
    (rb"\x89HDF", "is an HDF5 file, as Keras writes it; give a .safetensors or torch file"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ", "is compressed; unpack it, and give the file of weights in it"),
    (rb"\Z", "is empty; download or copy it again"),
)


@dataclass
class Checkpoint:
    """Hold the content of a file.

    Args:
        path: of the file.
        sha256: of the file, in hexadecimal.
        content: nested dicts, with tensors, numpy arrays and plain values.
    """

    path: Path
    sha256: str
    content: dict[str, Any]


def read_checkpoint(path: str | Path, unpickle: bool = False) -> Checkpoint:
    """Read a .safetensors or torch file, also of old torch, or a pickle of numpy arrays.

    Args:
        path: of the file.
        unpickle: let the file create any object, which runs the code that it names.

    Raises:
        ValueError: the file is missing, is truncated, is no file of weights, would unpack to far more than it holds, or needs
            ``unpickle``.
    """
    path = Path(path)
    content = _read(path, _kind(path), unpickle)
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} and no state dict; save the state dict of the network alone.")
    return Checkpoint(path, sha256(path), content)


def _kind(path: Path) -> str:
    """Return the format of a file: 'safetensors', 'torch', 'tar' or 'pickle'.

    Raises:
        ValueError: it is missing or of another format; says which, if that can be told.
    """
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.absolute().parent.glob("*.*")], cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"There is no file {path}{hint}; give the path of a .safetensors or torch file, or timm:NAME.")
    check_archive(path)
    with open(path, "rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        _check_zip(path)
        return "torch"
    if head.startswith(b"\x80"):
        return "torch" if MAGIC in head[:32] else "pickle"
    if head[8:9] == b"{":
        return "safetensors"
    if head[257:262] == b"ustar":
        return "tar"
    for pattern, words in OTHER_KINDS:
        if re.match(pattern, head, re.IGNORECASE):
            raise ValueError(f"{path} {words}.")
    start = head.split(b"\n")[0].decode("latin1")[:40].strip()
    raise ValueError(f"{path} is no file of weights (it starts with {start!r}); give a .safetensors or torch file.")


def _check_zip(path: Path) -> None:
    """Raise ValueError if a zip archive is a program or another archive than torch.save writes."""
    entries = [entry.filename for entry in zip_entries(path)]
    if not entries:
        return  # it is cut short, as torch says below
    names = {name.partition("/")[2] or name: name for name in entries}
    if "constants.pkl" in names:
        raise ValueError(
            f"{path} is a TorchScript program and no state dict; save its weights with torch.save(torch.jit.load("
            f"{path.name!r}).state_dict(), 'weights.pth') if you trust it, which runs it, and import that file."
        )
    if "data.pkl" not in names:
        first = ", ".join(sorted(names.values())[:3])
        raise ValueError(f"{path} is a zip archive that torch.save has not written (it holds {first}); give a file of weights.")


def _read(path: Path, kind: str, unpickle: bool) -> Any:
    """Return the content of a file of the format ``kind``."""
    try:
        if kind == "safetensors":
            return load_file(path)
        if kind == "tar":
            return read_archive(path)
        if kind == "pickle" and not unpickle:
            return read_arrays(path)
        if kind == "pickle":
            with open(path, "rb") as file:
                return pickle.load(file, encoding="latin1")
        with torch.serialization.safe_globals([(Ignored, name) for name in BESIDE_WEIGHTS]):
            return torch.load(path, map_location="cpu", weights_only=not unpickle)
    except OtherArchive as error:
        raise ValueError(f"{path} {error}.") from None
    except Unknown as error:
        raise _not_allowed(path, f"names {error}") from None
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL (\S+)", str(error))
        raise _not_allowed(path, f"names {match.group(1)}" if match else "holds more than tensors") from None
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be unpickled here ({error}); save its state dict alone where its code is installed."
        ) from None
    except Exception as error:  # damaged bytes can raise any error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} is damaged, or cut short ({reason}); download or copy it again.") from None


def _not_allowed(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} {reason}, which is not among what a file of weights may hold; save its state dict alone, or, if you trust "
        "whoever made it, add --unpickle, which runs code from the file."
    )
