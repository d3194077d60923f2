"""Read Pascal VOC with mmdet, but drop nothing silently."""

from pathlib import Path

import backbones.mmcv_ops  # noqa: F401  (mmdet cannot be imported without it where mmcv is not compiled)

# isort: split
from mmdet.datasets import VOCDataset as MMDetVOCDataset

from backbones.transfer.holdout import in_part
from detection.annotations import Thing, check_annotation
from detection.image_lists import ListedImages, read_list


class VOCDataset(MMDetVOCDataset):
    """Read Pascal VOC for mmdet's pipelines by the readers that check the data, and refuse broken annotations.

    mmdet's own VOCDataset skips objects of unknown classes and does not train on difficult ones. In training mmdet's Resize clips
    a box that reaches out of its image to the border; in testing the box stays whole.

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
        self.cat2label = {name: label for label, name in enumerate(self._metainfo["classes"])}
        split = ListedImages(Path(self.sub_data_root), Path(self.ann_file), read_list(self.ann_file))
        return [self._image(split, name) for name in split.names if in_part(name, self.part)]

    def _image(self, split: ListedImages, name: str) -> dict:
        """Return what mmdet's pipelines take of an image and its objects."""
        (width, height), things, _ = check_annotation(split.xml(name), self._metainfo["classes"])
        return dict(
            img_id=name,
            img_path=str(split.image(name)),
            xml_path=str(split.xml(name)),
            height=height,
            width=width,
            instances=[self._instance(thing) for thing in things],
        )

    def _instance(self, thing: Thing) -> dict:
        """Return an object for mmdet: its box counts from 0; one that is ignored is not trained on, and no miss in a test."""
        box = [side - 1 for side in thing.box]
        small = min(box[2] - box[0], box[3] - box[1]) < (self.bbox_min_size or 0)
        hard = thing.difficult == "1" and (self.test_mode or not self.difficult_in_training)
        return dict(bbox=box, bbox_label=self.cat2label[thing.name], ignore_flag=int(hard or small))
