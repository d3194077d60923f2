"""Collect the ranks of all test images over all processes, and save them per image."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from backbones.common.files import write_npz
from classification.metrics import rank_of_truth, topk


class TopK(BaseMetric):
    """Compute top1 and top5 in percent, and write the rank of each image to ``out_file``.

    Args:
        out_file: .npz file to write: ``rank`` uint16 (N,) of the true class and ``label`` uint16 (N,), in the dataset's order.
    """

    def __init__(self, out_file: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.out_file = out_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            label = int(sample["label"])
            self.results.append((rank_of_truth(sample["scores"].numpy(), label), label))

    def compute_metrics(self, results: list) -> dict[str, float]:
        ranks, labels = np.array(results, dtype=np.uint16).T
        if self.out_file:
            write_npz(self.out_file, rank=ranks, label=labels)
        return {"top1": topk(ranks, 1), "top5": topk(ranks, 5)}
