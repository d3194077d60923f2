"""Pascal VOC as mmdet reads it, but nothing left out in silence."""

import xml.etree.ElementTree as ET
from pathlib import Path

from mmdet.datasets import VOCDataset as MMDetVOCDataset

import backbones.mmcv_ops  # noqa: F401  (mmdet cannot be imported without it where mmcv is not compiled)
from backbones.files import missing_folder


class VOCDataset(MMDetVOCDataset):
    """mmdet's VOCDataset, strict.

    mmdet skips objects of unknown classes, and does not train on difficult ones.

    Args:
        difficult_in_training: train on objects marked difficult, as GluonCV and detectron2 do. In testing they are always
            kept apart, as the devkit demands.
        kwargs: of mmdet's class; ``metainfo=dict(classes=...)`` where the classes are not VOC's.

    Raises:
        ValueError: a missing list or XML file, a broken XML, or a class that is not among the classes; names the file.
    """

    def __init__(self, difficult_in_training: bool = True, **kwargs):
        self.difficult_in_training = difficult_in_training
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        if not Path(self.ann_file).is_file():
            raise ValueError(missing_folder(self.ann_file, "the list of image names of a VOCdevkit"))
        return super().load_data_list()

    def parse_data_info(self, img_info: dict) -> dict:
        path = img_info["xml_path"]
        try:
            return super().parse_data_info(img_info)
        except FileNotFoundError:
            raise ValueError(f"{path} does not exist, though {self.ann_file} lists it; complete the VOCdevkit.") from None
        except (ET.ParseError, AttributeError) as error:
            raise ValueError(f"{path} is no VOC annotation ({error}); restore the file.") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def _parse_instance_info(self, raw_ann_info: ET.ElementTree, minus_one: bool = True) -> list[dict]:
        for name in (obj.findtext("name") for obj in raw_ann_info.findall("object")):
            if name not in self.cat2label:
                raise ValueError(
                    f"the class {name!r} is unknown; allowed: {', '.join(self.cat2label)}. Correct the file, or give "
                    "your own names with --cfg-options \"classes=('cat','dog')\"."
                )
        instances = super()._parse_instance_info(raw_ann_info, minus_one)
        if self.difficult_in_training and not self.test_mode:
            for instance in instances:
                instance["ignore_flag"] = 0
        return instances
