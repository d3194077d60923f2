"""Evaluate detections in the runner: gather boxes over all processes and save them per image."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric

from backbones.common.files import write_npz
from detection.metrics import IOUS, gather, match, mean_ap


class VOCMeanAP(BaseMetric):
    """Compute in percent mAP (11-point) and mAP_area at one IoU, and mAP_50_95 (area, the mean over IoU 0.50:0.05:0.95).

    Follows the devkit's rules, not COCO's: a side is one pixel longer in the IoU, each detection is tried on its best box
    alone, and there are no 101 points.

    Args:
        iou: smallest IoU of a hit, for mAP, mAP_area and ``det_match``.
        out_file: .npz to write: ``det_{image,box,label,score,match}`` and ``gt_{image,box,label,difficult}`` of all images,
            for ``detection.metrics.load``. Coordinates and scores are float32 as the network returned them, so that the
            file reproduces the figures to the last digit; ``det_match`` int8: 1 is a hit, 0 a false alarm, -1 ignored.

    Raises:
        ValueError: no true box counts. The file is written nevertheless.
    """

    def __init__(self, iou: float = 0.5, out_file: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.iou, self.out_file = iou, out_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            predicted = sample["pred_instances"]
            arrays = [predicted["bboxes"], predicted["labels"], predicted["scores"]]
            for part in (sample["gt_instances"], sample["ignored_instances"]):
                arrays += [part["bboxes"], part["labels"]]
            self.results.append(tuple(array.cpu().numpy() for array in arrays))

    def compute_metrics(self, results: list) -> dict[str, float]:
        detections, truth = gather(results)
        if self.out_file:
            detections.match = match(detections, truth, self.iou)
            files = {f"det_{k}": v for k, v in vars(detections).items() if v is not None}
            files |= {f"gt_{k}": v for k, v in vars(truth).items() if v is not None}
            write_npz(self.out_file, **files)
        kinds = {"mAP": ("11-point", self.iou), "mAP_area": ("area", self.iou), "mAP_50_95": ("area", IOUS)}
        classes = len(self.dataset_meta["classes"])
        return {name: mean_ap(detections, truth, classes, kind, iou) for name, (kind, iou) in kinds.items()}
