"""Make random draws independent of where a run was stopped and of which process loaded its data.

Three rules replace saved states of random generators. The draws of an update are a function of (seed, update, process), in
classification of (seed, update, micro-batch); those of a sample's augmentation are one of (seed, epoch, index of the sample), and
the order of an epoch is one of (seed, epoch). So a run resumed at the end or in the middle of an epoch equals the undisturbed
one, and the number of loader workers changes nothing.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import get_worker_info

from backbones.common.images import BadImage
from backbones.randomness import seed_everything, seed_of

REPLACED = 100  # this many unreadable files in a row stop a run even if it may skip bad images


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Make all draws inside follow from ``seed``; restore the process's own generators afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_everything(seed, cuda=False)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SampleIndex(int):
    """Carry the epoch along with the index of a sample."""

    def __new__(cls, index: int, epoch: int):
        sample_index = super().__new__(cls, index)
        sample_index.epoch = epoch
        return sample_index

    def __reduce__(self):  # the loader pickles it for its workers
        return SampleIndex, (int(self), self.epoch)


class SeededDataset:
    """Wrap a dataset so that the random draws of a sample follow from (seed, epoch, index); all else is the dataset's own.

    Args:
        dataset: the dataset.
        seed: the seed of the run.
        skipped: a file to list unreadable images in, one line each time. A sample with such an image is replaced by the next
            readable one, the same for every epoch, process and worker. If None, an unreadable image stops the run.
    """

    def __init__(self, dataset, seed: int, skipped: str | None = None):
        self.dataset, self.seed, self.skipped = dataset, seed, skipped

    def __getattr__(self, name: str):
        if name == "dataset":  # not set yet during unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list:
        """Return the samples of a batch; torch's loader asks for all at once, so the process's state is saved once a batch."""
        if get_worker_info():  # nothing else in a worker draws
            return [self._sample(index) for index in indices]
        with own_randomness(self.seed):
            return [self._sample(index) for index in indices]

    def _sample(self, index: int):
        epoch, index = getattr(index, "epoch", 0), int(index)
        seed = seed_of(self.seed, "sample", epoch, index)
        for candidate in range(index, index + REPLACED):
            seed_everything(seed, cuda=False)
            try:
                return self.dataset[candidate % len(self)]
            except BadImage as error:
                if not self.skipped or candidate == index + REPLACED - 1:
                    raise
                with open(self.skipped, "a") as file:  # a line is one write, so those of several workers do not mix
                    file.write(f"{error}\n")


class EpochBatchSampler:
    """Tell each index of a batch sampler its epoch, and leave out the first ``skip`` batches of the next pass."""

    def __init__(self, batches):
        self.batches, self.sampler, self.skip = batches, batches.sampler, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        epoch, skip, self.skip = getattr(self.sampler, "epoch", 0), self.skip, 0
        for i, batch in enumerate(self.batches):
            if i >= skip:
                yield [SampleIndex(index, epoch) for index in batch]
