"""Test in which order a run reads its training set, and what each of several processes reads of it."""

from itertools import product

import numpy as np
import pytest

from backbones import ShuffleSampler
from backbones.randomness import order_of
from tests.helpers.exact import CLASSIFIER, DETECTOR, SEGMENTER, resolved_config
from tools.engine.training.runner import ExactRunner


def read_by(monkeypatch, rank: int, processes: int, count: int, **options) -> list[int]:
    """Return the images that a process reads in epoch 1 of seed 7."""
    monkeypatch.setattr("backbones.randomness.get_dist_info", lambda: (rank, processes))
    sampler = ShuffleSampler(range(count), seed=7, **options)
    sampler.set_epoch(1)
    images = list(sampler)
    assert len(images) == len(sampler)
    return images


def test_no_two_seeds_share_the_order_of_an_epoch():
    """Two of MMEngine's runs whose seeds differ by one see the same orders, an epoch apart."""
    orders = set()
    for seed, epoch in product(range(60), range(60)):
        sampler = ShuffleSampler(range(40), 8, seed=seed)
        sampler.set_epoch(epoch)
        order = tuple(sampler)
        assert sorted(order) == list(range(40))
        orders.add(order)
    assert len(orders) == 60 * 60


def test_seeds_that_differ_by_a_power_of_two_have_other_orders():
    """torch's generators would take 5 and 5 + 2**32 for the same seed."""
    orders = {tuple(order_of(40, seed, 0).tolist()) for seed in (5, 5 + 2**32, 5 + 2**31, 2**32 - 1)}
    assert len(orders) == 4


def test_an_order_is_uniform():
    """Each image is at each place about equally often: 6 images in 3000 epochs, chi-squared below its 0.999 quantile."""
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        counts[np.arange(6), order_of(6, 0, epoch)] += 1
    assert ((counts - 500) ** 2 / 500).sum() < 52.62  # 25 degrees of freedom


@pytest.mark.parametrize("path", [CLASSIFIER, DETECTOR, SEGMENTER])
def test_every_task_reads_in_the_order_of_its_seed_and_epoch(toy_root, monkeypatch, path):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    cfg = resolved_config(path).cfg
    from mmengine.registry import init_default_scope

    init_default_scope(cfg.default_scope)
    loader = ExactRunner.build_dataloader(cfg.train_dataloader, seed=3)
    for epoch in (2, 0):
        loader.batch_sampler.sampler.set_epoch(epoch)
        order = order_of(len(loader.dataset), 3, epoch).tolist()
        assert list(loader.batch_sampler.sampler) == order
        batches = list(loader.batch_sampler)
        assert sorted(index for batch in batches for index in batch) == sorted(order)
        assert {index.epoch for batch in batches for index in batch} == {epoch}


@pytest.mark.parametrize(("count", "processes"), list(product((39, 40, 41, 8), (1, 2, 4))))
def test_processes_share_each_batch_of_the_epoch(monkeypatch, count, processes):
    """Process r has the r-th part of each whole batch, and the images after the last one are left out."""
    parts = [read_by(monkeypatch, rank, processes, count, batch=8, drop_last=True) for rank in range(processes)]
    order = order_of(count, 7, 1)[: count // 8 * 8]
    batches = np.stack([np.reshape(part, (count // 8, 8 // processes)) for part in parts], axis=1)
    assert batches.reshape(-1).tolist() == order.tolist()


@pytest.mark.parametrize(("count", "processes"), list(product((39, 40, 41), (1, 2, 4))))
def test_a_last_smaller_batch_is_shared_too_and_filled_up_with_the_first_images(monkeypatch, count, processes):
    parts = [read_by(monkeypatch, rank, processes, count, batch=8) for rank in range(processes)]
    assert len({len(part) for part in parts}) == 1
    order = order_of(count, 7, 1).tolist()
    extra = -count % processes
    assert sorted(index for part in parts for index in part) == sorted(order + order[:extra])
    last = [index for part in parts for index in part[count // 8 * 8 // processes :]]
    assert last == (order + order[:extra])[count // 8 * 8 :]


def test_a_set_smaller_than_a_batch_is_refused():
    """The sampler counts what is left once images without objects are out, which the check of the lists does not see."""
    with pytest.raises(ValueError, match="The training set has 7 images, fewer than one batch of 8; .* batch=N"):
        ShuffleSampler(range(7), 8, seed=0)
