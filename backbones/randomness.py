"""Derive random draws from hashes, so that they depend neither on where a run stopped nor on how many processes share it."""

import random
from collections.abc import Iterator, Sized
from hashlib import blake2b

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from backbones.resolving import check_batch


def seed_of(*parts: int | str) -> int:
    """Return a seed of 63 bits that depends on ``parts`` alone; seeds of different parts look unrelated."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def seed_everything(seed: int, cuda: bool) -> None:
    """Seed the generators of Python, numpy and torch; with ``cuda`` also that of the GPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if cuda:
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def order_of(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of ``count`` images in an epoch: a permutation of 0..count - 1, drawn from a hash of (seed, epoch).

    MMEngine's samplers draw from seed + epoch, so that epoch 1 of seed 0 has the order of epoch 0 of seed 1. torch's generators
    keep 32 bits of a seed, numpy's all 63 bits of the hash.
    """
    return np.random.default_rng(seed_of(seed, "order", epoch)).permutation(count)


class ShuffleSampler(Sampler):
    """Shuffle a training set anew in each epoch, and divide each batch among the processes of a run.

    An epoch is one permutation of the whole set, see ``order_of``. Update k trains on the k-th ``batch`` images of it, whatever
    the number of processes P: process r takes the r-th of P equal parts of each batch, images that follow each other.

    The arguments have MMEngine's names where it gives them; ``backbones.resolving.complete`` sets ``batch`` and ``drop_last``.

    Args:
        dataset: the training set.
        batch: number of images of an update, over all processes; a multiple of P.
        drop_last: leave out the images after the last whole batch. Otherwise they are the last, smaller batch; if P does not
            divide it, the first images of the epoch fill it up.
        seed: seed of the run, the same in all processes.

    Raises:
        ValueError: the set has fewer images than a batch.
    """

    def __init__(self, dataset: Sized, batch: int, drop_last: bool = False, seed: int | None = None):
        check_batch(len(dataset), batch, "The training set")
        self.dataset, self.batch, self.seed = dataset, batch, sync_random_seed() if seed is None else seed
        self.rank, self.processes = get_dist_info()
        self.epoch = 0
        self.count = len(dataset) // batch * batch if drop_last else -(-len(dataset) // self.processes) * self.processes

    def __iter__(self) -> Iterator[int]:
        order = np.resize(order_of(len(self.dataset), self.seed, self.epoch), self.count)  # cut, or repeated from its start
        whole = self.count // self.batch * self.batch
        parts = order[:whole].reshape(-1, self.processes, self.batch // self.processes)[:, self.rank]
        yield from parts.ravel().tolist()
        yield from order[whole:].reshape(self.processes, -1)[self.rank].tolist()

    def __len__(self) -> int:
        return self.count // self.processes

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order is next; MMEngine calls it before each one."""
        self.epoch = epoch
