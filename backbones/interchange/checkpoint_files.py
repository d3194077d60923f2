"""Read files of weights, safetensors or torch's own format, without running any code that they contain."""

import difflib
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from backbones.common.files import sha256


class Ignored:
    """Replace an object stored beside the weights: its data is read, but nothing of it is run or kept."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state) -> None:
        pass


# Checkpoints of mmengine's runner hold beside tensors the history of each logged value, with its four statistics as
# getattr(HistoryBuffer, name), in numpy's arrays and scalars (numpy.core is numpy._core since numpy 2). The training scripts of
# timm and torchvision save an argparse.Namespace. None of these is called: unpickling calls ``Ignored`` instead.
BESIDE_WEIGHTS = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",
    "numpy.ndarray",
    "numpy.dtype",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "argparse.Namespace",
)
PLAIN = ("state_dict", "model")
AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema")  # timm, mmengine, torchvision's reference scripts
COUNTERS = ("steps", "n_averaged")  # of mmengine's and torch's AveragedModel
WRAPPERS = ("module.", "model.")  # DataParallel and AveragedModel; a training script's own module


@dataclass
class Checkpoint:
    """Hold the tensors of a file.

    Args:
        path: of the file.
        sha256: of the file, in hexadecimal.
        state: name -> tensor, without the prefixes of ``WRAPPERS``.
        weights: 'plain' or 'ema'.
        notes: sentences for the user on the choice of weights.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]
    weights: str
    notes: list[str]


def read_checkpoint(path: str | Path, ema: bool = False, unpickle: bool = False) -> Checkpoint:
    """Read the weights of a .safetensors or torch file.

    Args:
        path: of the file.
        ema: take the averaged weights instead of the ordinary ones.
        unpickle: let the file create any object, which runs the code that it names.

    Raises:
        ValueError: the file is missing, is truncated, or is no file of weights; it needs ``unpickle``; or it has no weights of
            the requested kind.
    """
    path = Path(path)
    _check_head(path)
    state, weights, notes = _choose(path, _read(path, unpickle), ema)
    state = {k: v for k, v in state.items() if k not in COUNTERS}
    foreign = next((k for k, v in state.items() if not isinstance(k, str) or not isinstance(v, Tensor)), None)
    if foreign is not None or not state:
        reason = "it is empty" if foreign is None else f"{foreign!r} is no tensor"
        raise ValueError(f"{path} holds no state dict ({reason}); save the state dict of the network alone.")
    return Checkpoint(path, sha256(path), _unwrap(state), weights, notes)


def _is_safetensors(path: Path) -> bool:
    """Return whether the content is safetensors: eight bytes of length, then JSON."""
    with open(path, "rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and not _is_torch(head)


def _is_torch(head: bytes) -> bool:
    """Return whether a file begins like a zip archive, or like the pickle of torch before 1.6."""
    return head.startswith((b"PK", b"\x80"))


def _check_head(path: Path) -> None:
    """Raise ValueError unless the file exists and begins like a file of weights."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.absolute().parent.glob("*.*")], cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"There is no file {path}{hint}; give the path of a .safetensors or torch file, or timm:NAME.")
    with open(path, "rb") as file:
        head = file.read(64)
    if not _is_torch(head) and not _is_safetensors(path):
        start = head.split(b"\n")[0].decode("latin1").strip()
        raise ValueError(
            f"{path} is no file of weights (it starts with {start!r}; a failed download leaves a web page or nothing, a clone "
            "without Git LFS a few lines of text); download it again."
        )


def _read(path: Path, unpickle: bool):
    """Return the content of the file: a dict of tensors, or a dict that holds one."""
    try:
        if _is_safetensors(path):
            return load_file(path)
        allowed = [(Ignored, name) for name in BESIDE_WEIGHTS]
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=not unpickle)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"names {match.group(1)}" if match else "holds more than tensors"
        raise ValueError(
            f"{path} {reason}, which is not among what a file of weights may hold; save its state dict alone, or, if you trust "
            "whoever made it, add --unpickle, which runs code from the file."
        ) from None
    except Exception as error:  # damaged bytes can raise any error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} is damaged, or cut short ({reason}); download or copy it again.") from None


def _choose(path: Path, content, ema: bool) -> tuple[dict, str, list[str]]:
    """Return the state dict to take from ``content``, its kind, and notes on the choice."""
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} and no state dict; save the state dict of the network alone.")
    states = {name: content[name] for name in (*PLAIN, *AVERAGED) if isinstance(content.get(name), dict)}
    plain = next((name for name in PLAIN if name in states), None)
    averaged = next((name for name in AVERAGED if name in states), None)
    if plain and averaged == "ema_state_dict" and "steps" in states[averaged]:
        # mmengine's EMAHook swaps the two on saving, so that 'state_dict' has the averaged weights
        plain, averaged = averaged, plain
    if ema and not averaged:
        raise ValueError(f"{path} has no averaged weights (looked for {', '.join(AVERAGED)}); leave out --ema.")
    if averaged and not plain and not ema:
        raise ValueError(f"{path} has averaged weights alone ({averaged}); add --ema to take them.")
    if not states:
        return content, "plain", []
    notes = []
    if plain and averaged:
        ordinary, mean = f"the ordinary weights ({plain})", f"the averaged ones ({averaged})"
        choice = f"{mean} are taken, {ordinary} left out" if ema else f"{ordinary} are taken, {mean} left out"
        notes.append(f"{path.name} holds {ordinary} and {mean}: {choice}.")
    if ema:
        return dict(states[averaged]), "ema", notes
    return dict(states[plain]), "plain", notes


def _unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes of ``WRAPPERS`` that all names of ``state`` share."""
    while prefix := next((p for p in WRAPPERS if all(k.startswith(p) for k in state)), None):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state
