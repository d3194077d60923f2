"""List config files that are no configs, weights that are none, and odd variables of the environment."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from backbones.common.project import ROOT
from tests.helpers.inputs.overrides import CONFIGS
from tests.helpers.inputs.rows import Row

C, D, S = CONFIGS.values()
BASE = f'_base_ = ["{ROOT}/{C}"]\n'
TORCHRUN = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
CONFIG_FILES = {  # text of own.py: words of the answer
    "": ("lacks task",),
    "batch = \n": ("own.py cannot be read as a config",),
    "batch = (1\n": ("own.py cannot be read as a config",),
    "import nosuchmodule\n": ("own.py",),  # MMEngine leaves imports out
    "raise ValueError('mine')\n": ("own.py cannot be read as a config", "mine"),
    "1 / 0\n": ("own.py cannot be read as a config",),
    "open('nosuchfile')\n": ("own.py cannot be read as a config",),
    '_base_ = "own.py"\n': ("own.py is a base of itself",),
    '_base_ = ["nosuch.py"]\n': ("own.py cannot be read as a config",),
    "_base_ = 3\n": ("own.py cannot be read as a config",),
    "task = '../x'\n": ("own.py has task='../x'",),
    "task = 'os'\n": ("own.py has task='os'",),
    "task = None\n": ("own.py has task=None",),
    BASE + "task = 'tools'\n": ("own.py has task='tools'",),
    BASE + "model = None\n": ("model",),
    BASE + "model = dict(backbone=None)\n": ("own.py",),
    BASE + "model = dict(backbone=dict(depth='50'))\n": ("depth",),
    BASE + "model = dict(backbone=dict(zero_gamma='yes'))\n": ("zero_gamma", "True or False"),
    BASE + "model = dict(backbone=dict(type=7))\n": ("own.py", "type"),
    BASE + "optim_wrapper = dict(optimizer=dict(momentum='0.9'))\n": ("momentum", "give"),
    BASE + "optim_wrapper = dict(optimizer=dict(nesterov=3))\n": ("nesterov", "SGD takes True or False"),
    BASE + "optim_wrapper = None\n": ("optim_wrapper",),
    BASE + "default_hooks = dict(logger=dict(interval='20'))\n": ("interval",),
    BASE + "custom_hooks = [dict(type='NoSuchHook')]\n": ("NoSuchHook",),
    BASE + "custom_hooks = ['EMAHook']\n": ("custom_hooks",),
    BASE + "custom_hooks = [dict(typ='EMAHook')]\n": ("custom_hooks",),
    BASE + "custom_imports = dict(imports=['nosuchmodule'])\n": ("custom_imports", "nosuchmodule"),
    BASE + "test_evaluator = dict(type='NoSuchMetric')\n": ("NoSuchMetric",),
    BASE + "teacher = 'nowhere'\n": ("nowhere",),
    "\0": ("own.py cannot be read as a config",),
}
ENVIRONMENTS = (  # command line, variables, words of the answer
    ((C,), {"TRICKTRANSFER_DEVICE": "gpu"}, ("TRICKTRANSFER_DEVICE is 'gpu'",)),
    ((C,), {"TRICKTRANSFER_DEVICE": "cuda"}, ("TRICKTRANSFER_DEVICE is cuda",)),
    ((C,), {"DATA_ROOT": "nowhere"}, ("nowhere/toy",)),
    ((D, "--backbone", "scratch"), {"DATA_ROOT": "nowhere"}, ("nowhere/toy",)),
    ((S, "--backbone", "scratch"), {"DATA_ROOT": "nowhere"}, ("nowhere/toy",)),
    ((C,), {"DATA_ROOT": "/dev/null"}, ("/dev/null",)),
    ((C, "--launcher", "pytorch"), {"WORLD_SIZE": "1"}, ("no RANK", "torchrun")),
    ((C, "--launcher", "pytorch"), TORCHRUN | {"WORLD_SIZE": "two"}, ("WORLD_SIZE=two",)),
    ((C, "--launcher", "pytorch"), TORCHRUN | {"RANK": "-1"}, ("RANK=-1",)),
    ((C, "--launcher", "pytorch"), TORCHRUN | {"WORLD_SIZE": "3"}, ("3",)),
    ((C, "--launcher", "slurm"), {"SLURM_NTASKS": "1"}, ("no SLURM_PROCID", "srun")),
    ((C, "--launcher", "slurm"), {"SLURM_NTASKS": "x", "SLURM_PROCID": "0"}, ("SLURM_NTASKS=x",)),
)
WEIGHTS = {  # content of a file: words of the answer
    "empty.pth": b"",
    "text.pth": b"not weights\n",
    "page.pth": b"<html><body>sign in</body></html>",
    "empty.safetensors": b"",
    "short.safetensors": struct.pack("<Q", 10_000) + b"{}",
    "none.safetensors": struct.pack("<Q", 2) + b"{}",
    "list.safetensors": struct.pack("<Q", 2) + b"[]",
    "json.safetensors": json.dumps({"conv1.weight": [1, 2]}).encode(),
    "pointer.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "zip.pth": b"PK\x03\x04" + b"\0" * 40,
    "pickle.pth": b"\x80\x04N.",
    "picture.pth": b"\x89PNG\r\n\x1a\n" + b"\0" * 20,
}


STUDIES = ("", "name = \n", '_base_ = "own.py"\n', "raise KeyError('x')\n", "name = 'caf\xe9'\n")


def rows() -> Iterator[Row]:
    for text, words in CONFIG_FILES.items():
        yield _row(
            f"own.py: {text.replace(BASE, 'base, ')!r}", "print_config", ("own.py",), words, _file("own.py", text.encode())
        )
    latin = _file("own.py", b"batch = '\xe9'\n")
    yield _row("own.py in Latin-1", "print_config", ("own.py",), ("own.py",), latin)
    yield _row("own.py is a folder", "print_config", ("own.py",), ("no config own.py",), _folder)
    for text in STUDIES:
        prepare = _file("own.py", text.encode("latin-1"))
        yield _row(f"a study: {text!r}", "study", ("plan", "own.py"), ("own.py",), prepare)
    for args, variables, words in ENVIRONMENTS:
        yield Row("surroundings", f"{' '.join(args)} with {variables}", "train", args, words, variables=variables)
    for name, content in WEIGHTS.items():
        args = (name, "--variant", "b", "--out", "card")
        yield _row(f"weights in {name}", "import_backbone", args, (name,), _file(name, content))


def _row(name: str, tool: str, args: tuple[str, ...], words: tuple[str, ...], prepare: Callable[[Path], None]) -> Row:
    return Row("surroundings", name, tool, args, words, prepare=prepare)


def _file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content)


def _folder(folder: Path) -> None:
    (folder / "own.py").mkdir()
