"""Compute top-k accuracy from the rank of the true class; numpy only."""

import numpy as np


def rank_of_truth(scores: np.ndarray, label: int) -> int:
    """Count the classes that rank before the true one; 0 means that the true class ranks first.

    Args:
        scores: float (K,); higher is better. Of equal scores the smaller class index ranks first. A class with score NaN ranks
            before the true class, and a true class with score NaN ranks last, so a network that returns NaN has no hits.
        label: the true class, 0..K-1.
    """
    truth = scores[label]
    after = scores < truth
    after[label + 1 :] |= scores[label + 1 :] == truth
    return len(scores) - 1 - int(after.sum())


def topk(ranks: np.ndarray, k: int) -> float:
    """Return the percentage of images whose true class is among the first k: 100 * mean(rank < k)."""
    return float(100 * np.mean(np.asarray(ranks) < k))
