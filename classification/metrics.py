"""Top-k accuracy from the rank of the true class; numpy only."""

import numpy as np


def rank_of_truth(scores: np.ndarray, label: int) -> int:
    """How many classes stand before the true one: 0 when it is the first.

    Args:
        scores: float (K,); higher is better. Of equal scores the smaller class index stands first. NaN stands before the
            truth, and before it all others stand: a network that computes no numbers has no hits.
        label: the true class, 0..K-1.
    """
    truth = scores[label]
    after = scores < truth
    after[label + 1 :] |= scores[label + 1 :] == truth
    return len(scores) - 1 - int(after.sum())


def topk(ranks: np.ndarray, k: int) -> float:
    """Percent of the images whose true class is among the k first: 100 * mean(rank < k)."""
    return float(100 * np.mean(np.asarray(ranks) < k))
