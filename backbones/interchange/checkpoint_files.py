"""Weights from elsewhere, as files: safetensors or torch's own, read without running anything that is in them."""

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
    """What stands for an object beside the weights: it is read, and nothing of it is run or kept."""

    def __init__(self, *args):
        pass

    def __setstate__(self, state) -> None:
        pass


# What mmengine's runner checkpoints hold beside tensors: the history of each logged value, with its four statistics as
# getattr(HistoryBuffer, name), in numpy's arrays and scalars (numpy.core is numpy._core since numpy 2). argparse.Namespace is in
# what timm's and torchvision's own training scripts save. None of these is called: ``Ignored`` is, in the place of each.
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
COUNTERS = ("steps", "n_averaged")  # what mmengine's and torch's AveragedModel count
WRAPPERS = ("module.", "model.")  # DataParallel and AveragedModel; a training script's own module


@dataclass
class Checkpoint:
    """The tensors of a file.

    Args:
        path: of the file.
        sha256: of the file, in hexadecimal.
        state: name -> tensor, without the prefixes of ``WRAPPERS``.
        weights: 'plain' or 'ema'.
        notes: sentences on what was chosen.
    """

    path: Path
    sha256: str
    state: dict[str, Tensor]
    weights: str
    notes: list[str]


def read_checkpoint(path: str | Path, ema: bool = False, unpickle: bool = False) -> Checkpoint:
    """Reads the weights of a .safetensors or torch file.

    Args:
        path: of the file.
        ema: take the averaged weights, not the ordinary ones.
        unpickle: let the file make any object, which runs whatever code it names.

    Raises:
        ValueError: no such file, no file of weights, one cut short; one that needs ``unpickle``; no weights of the wanted kind.
    """
    path = Path(path)
    _check_head(path)
    state, weights, notes = _choose(path, _read(path, unpickle), ema)
    state = {k: v for k, v in state.items() if k not in COUNTERS}
    odd = next((k for k, v in state.items() if not isinstance(k, str) or not isinstance(v, Tensor)), None)
    if odd is not None or not state:
        what = "it is empty" if odd is None else f"{odd!r} is no tensor"
        raise ValueError(f"{path} holds no state dict ({what}); save the state dict of the network alone.")
    return Checkpoint(path, sha256(path), _unwrap(state), weights, notes)


def _is_safetensors(path: Path) -> bool:
    """By the content: eight bytes of length, then JSON."""
    with open(path, "rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and not _is_torch(head)


def _is_torch(head: bytes) -> bool:
    """A zip archive, or the pickle of torch before 1.6."""
    return head.startswith((b"PK", b"\x80"))


def _check_head(path: Path) -> None:
    """Raises ValueError unless there is a file that begins as a file of weights does."""
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
    """All that is in the file: a dict of tensors, or a dict that holds one."""
    try:
        if _is_safetensors(path):
            return load_file(path)
        allowed = [(Ignored, name) for name in BESIDE_WEIGHTS]
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=not unpickle)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        needs = f"names {named.group(1)}" if named else "holds more than tensors"
        raise ValueError(
            f"{path} {needs}, which is not among what a file of weights may hold; save its state dict alone, or, if you trust "
            "whoever made it, add --unpickle, which runs code from the file."
        ) from None
    except Exception as error:  # what damaged bytes raise is any error at all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} is damaged, or cut short ({reason}); download or copy it again.") from None


def _choose(path: Path, content, ema: bool) -> tuple[dict, str, list[str]]:
    """The state dict to take out of ``content``, which kind it is, and what to say of the choice."""
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} and no state dict; save the state dict of the network alone.")
    held = {name: content[name] for name in (*PLAIN, *AVERAGED) if isinstance(content.get(name), dict)}
    plain = next((name for name in PLAIN if name in held), None)
    averaged = next((name for name in AVERAGED if name in held), None)
    if plain and averaged == "ema_state_dict" and "steps" in held[averaged]:
        # mmengine's EMAHook swaps the two when it saves, so that 'state_dict' has the averaged weights
        plain, averaged = averaged, plain
    if ema and not averaged:
        raise ValueError(f"{path} has no averaged weights (looked for {', '.join(AVERAGED)}); leave out --ema.")
    if averaged and not plain and not ema:
        raise ValueError(f"{path} has averaged weights alone ({averaged}); add --ema to take them.")
    if not held:
        return content, "plain", []
    notes = []
    if plain and averaged:
        kinds = [f"the ordinary weights ({plain})", f"the averaged ones ({averaged})"]
        taken, left = reversed(kinds) if ema else kinds
        notes.append(f"{path.name} holds {kinds[0]} and {kinds[1]}: {taken} are taken, {left} left out.")
    return dict(held[averaged if ema else plain]), "ema" if ema else "plain", notes


def _unwrap(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` without the prefixes that all of its names share."""
    while prefix := next((p for p in WRAPPERS if all(k.startswith(p) for k in state)), None):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state
