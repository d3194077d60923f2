"""Read Pascal VOC with mmdet, but drop nothing silently."""

import xml.etree.ElementTree as ET

import backbones.mmcv_ops  # noqa: F401  (mmdet cannot be imported without it where mmcv is not compiled)

# isort: split
from mmdet.datasets import VOCDataset as MMDetVOCDataset

from backbones.transfer.holdout import in_part
from detection.annotations import check_annotation, read_list


class VOCDataset(MMDetVOCDataset):
    """Read Pascal VOC as mmdet's VOCDataset does, but refuse broken annotations.

    mmdet itself skips objects of unknown classes and does not train on difficult ones. In training mmdet's Resize clips a box
    that reaches out of its image to the border; in testing the box stays whole.

    Args:
        difficult_in_training: train on objects marked difficult, as GluonCV and detectron2 do. In testing they
            always stay separate, as the devkit demands.
        part: 'rest' or 'held_out', the part of the list to read, see ``backbones.transfer.holdout``; None reads all of it.
        kwargs: arguments of mmdet's class; ``metainfo=dict(classes=...)`` for classes other than VOC's.

    Raises:
        ValueError: the list is missing, or ``check_annotation`` refuses an XML. The message names the file.
    """

    def __init__(self, difficult_in_training: bool = True, part: str | None = None, **kwargs):
        self.difficult_in_training, self.part = difficult_in_training, part
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        read_list(self.ann_file)
        return [info for info in super().load_data_list() if in_part(info["img_id"], self.part)]

    def parse_data_info(self, img_info: dict) -> dict:
        check_annotation(img_info["xml_path"], self._metainfo["classes"])
        return super().parse_data_info(img_info)

    def _parse_instance_info(self, raw_ann_info: ET.ElementTree, minus_one: bool = True) -> list[dict]:
        instances = super()._parse_instance_info(raw_ann_info, minus_one)
        if self.difficult_in_training and not self.test_mode:
            for instance in instances:
                instance["ignore_flag"] = 0
        return instances
