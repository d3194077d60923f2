"""Read ADE20K through mmseg, and stop at a faulty mask."""

import backbones.mmcv_ops  # noqa: F401  (without compiled mmcv, mmseg cannot be imported otherwise)

# isort: split
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image, ImageFilter

from segmentation.folders import read_split
from segmentation.masks import check_mask


class ADE20KDataset(MMSegADE20KDataset):
    """Read ADE20K for mmseg's pipelines by the readers that check the data; every image has its mask, and every mask its image.

    Args:
        part: 'rest' or 'held_out' of the images, see ``backbones.transfer.holdout``; None for all images.
        kwargs: arguments of mmseg's class.

    Raises:
        ValueError: see ``segmentation.folders.read_split``.
    """

    def __init__(self, part: str | None = None, **kwargs):
        self.part = part
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        split = read_split(self.data_prefix["img_path"], self.data_prefix["seg_map_path"], self.part)
        common = dict(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label)
        return [dict(img_path=split.image(name), seg_map_path=split.mask(name), seg_fields=[], **common) for name in split.pairs]


class LoadMask(LoadAnnotations):
    """Read a mask of ids 0..150 into ``gt_seg_map`` uint8 (H, W): 0 becomes 255 (ignored), k becomes k - 1.

    Raises:
        BadImage, ValueError: as ``segmentation.masks.check_mask``; if the image was loaded, the mask must have its original size.
    """

    def _load_seg_map(self, results: dict) -> None:
        # ori_shape, since in testing Resize changes img_shape before the mask is loaded
        mask = check_mask(results["seg_map_path"], results.get("ori_shape"))
        results["gt_seg_map"] = mask - np.uint8(1)  # 0 wraps to 255
        results["seg_fields"].append("gt_seg_map")


class RandomBlur(BaseTransform):
    """Blur an image with a Gaussian whose radius is drawn from 0..1 px, as GluonCV does when it trains a segmenter.

    Args:
        prob: probability that an image is blurred.
    """

    def __init__(self, prob: float):
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.rand() < self.prob:
            image = Image.fromarray(results["img"])  # the order of the channels does not matter, since all are blurred alike
            results["img"] = np.array(image.filter(ImageFilter.GaussianBlur(np.random.rand())))
        return results
