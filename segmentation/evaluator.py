"""The runner's side of the metrics: one confusion matrix per image, gathered over all processes."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric

from backbones.files import write_npz
from segmentation.metrics import confusion, mean_accuracy, mean_iou, pixel_accuracy, sparse


class PixelAccuracyAndIoU(BaseMetric):
    """pixAcc, mIoU and mAcc in percent; the matrices per image go to ``out_file``.

    Args:
        out_file: an .npz to write: see ``segmentation.metrics.sparse``.
    """

    def __init__(self, out_file: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.out_file = out_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            prediction, truth = (sample[name]["data"].squeeze(0).cpu().numpy() for name in ("pred_sem_seg", "gt_sem_seg"))
            self.results.append(confusion(prediction, truth, classes))

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self.out_file:
            write_npz(self.out_file, **sparse(results))
        total = sum(results)
        return {"pixAcc": pixel_accuracy(total), "mIoU": mean_iou(total), "mAcc": mean_accuracy(total)}
