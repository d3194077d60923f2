"""MMEngine's runner, made exact: what a run draws at random does not depend on where it was stopped or who loaded its data.

Two rules replace saved states of random generators. What an update draws is a function of (seed, update, process), and what a
sample's augmentation draws is one of (seed, epoch, index of the sample). So a resumed run is the undisturbed one, from the end of
an epoch or from the middle of it, and the number of loader workers changes nothing.
"""

import os
import pickle
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import get_worker_info

GRACE = 10  # seconds that a worker outlives SIGTERM


def seed_of(*parts: int | str) -> int:
    """63 bits that follow from ``parts`` alone, and look unlike those of other parts."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def seed_everything(seed: int, cuda: bool) -> None:
    """Sets the generators of Python, numpy and torch; ``cuda``: that of the GPU too."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if cuda:
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Inside, all draws follow from ``seed``; afterwards the process's own generators are as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_everything(seed, cuda=False)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SampleIndex(int):
    """The index of a sample that knows in which epoch it is asked for."""

    def __new__(cls, index: int, epoch: int):
        made = super().__new__(cls, index)
        made.epoch = epoch
        return made

    def __reduce__(self):  # it travels to the loader's workers
        return SampleIndex, (int(self), self.epoch)


class SeededDataset:
    """A data set whose samples draw at random what follows from (seed, epoch, index); all else is the data set's own."""

    def __init__(self, dataset, seed: int):
        self.dataset, self.seed = dataset, seed

    def __getattr__(self, name: str):
        if name == "dataset":  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int):
        seed = seed_of(self.seed, "sample", getattr(index, "epoch", 0), int(index))
        if get_worker_info():  # nothing else in a worker draws
            seed_everything(seed, cuda=False)
            return self.dataset[int(index)]
        with own_randomness(seed):
            return self.dataset[int(index)]


class Batches:
    """A batch sampler that tells each index its epoch, and can leave out the first ``skip`` batches of its next pass."""

    def __init__(self, batches):
        self.batches, self.sampler, self.skip = batches, batches.sampler, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        epoch, skip, self.skip = getattr(self.sampler, "epoch", 0), self.skip, 0
        for i, batch in enumerate(self.batches):
            if i >= skip:
                yield [SampleIndex(index, epoch) for index in batch]


def end_workers(runner: Runner) -> None:
    """Ends the workers of a runner's loaders; else they wait for the interpreter's end."""
    for name in ("_train_loop", "_val_loop", "_test_loop"):
        loader = getattr(getattr(runner, name, None), "dataloader", None)
        if iterator := getattr(loader, "_iterator", None):
            iterator._shutdown_workers()
            loader._iterator = None


def _leave_signals(init: Callable[[int], None] | None, worker: int) -> None:
    """In a worker: a signal to all processes of a run is for the trainer, which saves and ends its workers itself.

    SIGTERM is what Python ends forgotten workers with, too, so it is obeyed after a while.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    if init:
        init(worker)


class ExactRunner(Runner):
    """MMEngine's Runner with loaders by the rules above, and checkpoints that are written whole and hold no code."""

    @staticmethod
    def build_dataloader(dataloader, seed: int | None = None, diff_rank_seed: bool = False):
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        # A DataLoader guards these two names against assignment, and MMEngine builds both itself.
        object.__setattr__(loader, "dataset", SeededDataset(loader.dataset, seed or 0))
        object.__setattr__(loader, "batch_sampler", Batches(loader.batch_sampler))
        loader.generator = torch.Generator()  # else each pass over it draws from the trainer's own
        loader.worker_init_fn = partial(_leave_signals, loader.worker_init_fn)
        return loader

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Writes beside its target and renames, so that a file of that name is whole."""
        part = f".{filename}.part"
        super().save_checkpoint(out_dir, part, *args, **kwargs)
        if is_main_process():
            path = Path(out_dir) / part
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(path, Path(out_dir) / filename)

    def load_checkpoint(self, filename: str, *args, **kwargs):
        """Loads tensors and plain values only.

        Raises:
            ValueError: the file is broken, or would run code.
        """
        check_checkpoint(Path(filename))
        return super().load_checkpoint(filename, *args, **kwargs)


def check_checkpoint(path: Path) -> None:
    """Raises ValueError unless ``path`` is a whole checkpoint of tensors and plain values.

    MMEngine would unpickle, and so run, whatever torch refuses to load without code.
    """
    try:
        if not is_zipfile(path):
            raise ValueError("it is no zip archive, as torch writes it")
        torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} holds Python objects besides tensors; it is not loaded: that would run its code.") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        what = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be read as a checkpoint ({what[0]}); take another.") from None


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of a run that has gone furthest and can be read; None where there is none."""
    found = sorted(folder.glob("*.pth"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        try:
            check_checkpoint(path)
        except ValueError:
            continue
        return path
    return None


class ExactHook(Hook):
    """Seeds each update, goes on in the middle of an epoch after a resume, and keeps objects out of checkpoints."""

    priority = "VERY_HIGH"

    def before_train(self, runner) -> None:
        loop = runner.train_loop
        self.behind = runner.iter  # updates of the run that this one goes on with
        if hasattr(loop, "dataloader_iterator"):  # by updates: without reading what was trained on already
            loop.dataloader_iterator.skip_iter = lambda updates: fast_forward(loop.dataloader_iterator, updates)

    def before_train_epoch(self, runner) -> None:
        if self.behind and not hasattr(runner.train_loop, "dataloader_iterator"):
            loader = runner.train_dataloader
            loader.batch_sampler.skip = self.behind - runner.epoch * len(loader)
        self.behind = 0

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        seed_everything(seed_of(runner.seed, "update", runner.iter, get_rank()), cuda=True)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        # MMEngine's history of logged values is made of objects; only its log lines need it
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}

    def after_train(self, runner) -> None:
        """Keeps the last checkpoint alone: while training, the one before it is kept until the last is written."""
        if is_main_process():
            paths = sorted(Path(runner.work_dir).glob("*.pth"), key=lambda path: path.stat().st_mtime)
            for path in paths[:-1]:
                path.unlink()


def fast_forward(iterator, updates: int) -> None:
    """Sets MMEngine's endless iterator to where it is after so many updates."""
    loader = iterator._dataloader
    iterator._epoch, loader.batch_sampler.skip = divmod(updates, len(loader))
    loader.batch_sampler.sampler.set_epoch(iterator._epoch)
    iterator._iterator = None
