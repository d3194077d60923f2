"""Read files of weights of any common format without running any code that they contain."""

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from backbones.common.files import sha256, weights_kind
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
    content = _read(path, weights_kind(path), unpickle)
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} and no state dict; save the state dict of the network alone.")
    return Checkpoint(path, sha256(path), content)


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
