"""Collect a sparse confusion matrix per image over all processes, and save them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from mmengine.evaluator import BaseMetric

from backbones.common.files import atomic, write_npz
from segmentation.metrics import CLASSES, boundary_band, count, figures, join

MASKS, KEPT = "masks", 24  # the folder of predicted masks beside the per-image results, and their number


class PixelAccuracyAndIoU(BaseMetric):
    """Compute the figures of ``segmentation.metrics.figures`` in percent, from masks at their full size.

    Args:
        classes: classes over which mIoU is the mean: 'gt', 'union' or 'all', see ``mean_iou``.
        band: width in pixels of the band around boundaries.
        out_file: .npz file to write, with the arrays of ``segmentation.metrics.Counts`` (read it with ``load``). The predicted
            masks of 24 images spread evenly over the set are written as PNGs of ADE20K's ids to ``masks`` beside it.

    Raises:
        ValueError: an unknown value of ``classes``, a band below 1, or no labelled pixel in the whole set. In the last case the
            files have been written.
    """

    def __init__(self, classes: str = "gt", band: int = 3, out_file: str | None = None, **kwargs):
        super().__init__(**kwargs)
        if classes not in CLASSES:
            raise ValueError(f"The classes of mIoU are {classes!r}; allowed: {', '.join(CLASSES)}.")
        boundary_band(np.zeros((1, 1), np.uint8), band)  # refuses a wrong width before the test starts
        self.classes, self.band, self.out_file = classes, band, out_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        number = len(self.dataset_meta["classes"])
        for sample in data_samples:
            prediction, truth = (sample[name]["data"].squeeze(0).cpu().numpy() for name in ("pred_sem_seg", "gt_sem_seg"))
            # count refuses predictions that are no class, before the cast to 8 bits hides them; mmseg's labels are int64
            counts = count(prediction, truth.astype(np.uint8), number, self.band)
            picture = cv2.imencode(".png", prediction.astype(np.uint8) + np.uint8(1))[1].tobytes() if self.out_file else b""
            self.results.append((counts, sample.get("img_path", ""), picture))

    def compute_metrics(self, results: list) -> dict[str, float]:
        counts, paths, pictures = zip(*results, strict=True)
        table = join(counts)
        if self.out_file:
            write_npz(self.out_file, **asdict(table))
            self._save_masks(paths, pictures)
        return figures(table.matrix(len(self.dataset_meta["classes"])), self.classes)

    def _save_masks(self, paths: Sequence[str], pictures: Sequence[bytes]) -> None:
        """Replace the saved masks by those of ``KEPT`` images, spread evenly over the set."""
        folder = Path(self.out_file).parent / MASKS
        folder.mkdir(exist_ok=True)
        for stale in folder.glob("*.png"):
            stale.unlink()
        for i in np.unique(np.linspace(0, len(paths) - 1, KEPT, dtype=int)):
            with atomic(folder / f"{Path(paths[i]).stem or i}.png", "wb") as file:
                file.write(pictures[i])
