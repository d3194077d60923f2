"""Read ADE20K through mmseg, and stop at a faulty mask."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (without compiled mmcv, mmseg cannot be imported otherwise)

# isort: split
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets import ADE20KDataset as MMSegADE20KDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image, ImageFilter

from backbones.transfer.holdout import in_part
from segmentation.masks import check_mask


class ADE20KDataset(MMSegADE20KDataset):
    """Check that every image has its mask, and every mask its image, and read them as mmseg's ADE20KDataset.

    Args:
        part: 'rest' or 'held_out' of the images, see ``backbones.transfer.holdout``; None for all images.
        kwargs: arguments of mmseg's class.

    Raises:
        ValueError: no images, images without a mask of the same stem, or masks without an image; the message names the first.
    """

    def __init__(self, part: str | None = None, **kwargs):
        self.part = part
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        data = super().load_data_list()
        stems, masks = {Path(item["img_path"]).stem for item in data}, Path(self.data_prefix["seg_map_path"])
        if not data:
            raise ValueError(f"{self.data_prefix['img_path']} holds no {self.img_suffix} image; put ADE20K's there.")
        if unpaired := sorted(path.name for path in masks.glob(f"*{self.seg_map_suffix}") if path.stem not in stems):
            raise ValueError(
                f"{len(unpaired)} of the masks in {masks} have no {self.img_suffix} image; the first is {unpaired[0]}. "
                "Complete the data, or remove these masks."
            )
        missing = [item["seg_map_path"] for item in data if not Path(item["seg_map_path"]).is_file()]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(data)} images have no mask; the first is missing at {missing[0]}. "
                "Complete the data, or remove these images."
            )
        data = [item for item in data if in_part(Path(item["img_path"]).stem, self.part)]
        if not data:
            raise ValueError(f"{self.data_prefix['img_path']} has too few images to hold any out of training; add images.")
        return data


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
