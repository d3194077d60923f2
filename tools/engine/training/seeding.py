"""What is drawn at random does not depend on where a run was stopped or who loaded its data.

Two rules replace saved states of random generators. What an update draws is a function of (seed, update, process), and what a
sample's augmentation draws is one of (seed, epoch, index of the sample). So a resumed run is the undisturbed one, from the end of
an epoch or from the middle of it, and the number of loader workers changes nothing.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch
from torch.utils.data import get_worker_info

from backbones.common.images import BadImage

REPLACED = 100  # so many files in a row that cannot be read stop a run all the same


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
    """A data set whose samples draw at random what follows from (seed, epoch, index); all else is the data set's own.

    Args:
        dataset: the data set.
        seed: of the run.
        skipped: a file, which says that a sample with a file that cannot be read is replaced by the next one that can, whatever
            epoch, process or worker asks for it, and which gets a line for it. None: it stops the run.
    """

    def __init__(self, dataset, seed: int, skipped: str | None = None):
        self.dataset, self.seed, self.skipped = dataset, seed, skipped

    def __getattr__(self, name: str):
        if name == "dataset":  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list:
        """The samples of a batch; torch's loader asks for them all at once, so the process's own state is kept once for all."""
        if get_worker_info():  # nothing else in a worker draws
            return [self._sample(index) for index in indices]
        with own_randomness(self.seed):
            return [self._sample(index) for index in indices]

    def _sample(self, index: int):
        seed, index = seed_of(self.seed, "sample", getattr(index, "epoch", 0), int(index)), int(index)
        for number in range(index, index + REPLACED):
            seed_everything(seed, cuda=False)
            try:
                return self.dataset[number % len(self)]
            except BadImage as error:
                if not self.skipped or number == index + REPLACED - 1:
                    raise
                with open(self.skipped, "a") as file:  # one write of a line: those of several workers do not mix
                    file.write(f"{error}\n")


class EpochBatchSampler:
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
