"""Declare the keys of a segmentation config and of a protocol, with types and ranges."""

from typing import Any, ClassVar, Literal

from backbones.common.schema import Count, Fraction, NonNegative, Positive
from backbones.common.values import Values
from backbones.networks.architecture import Architecture
from backbones.transfer.protocols import Pixels, Protocol


class SegmentationValues(Values, kw_only=True, forbid_unknown_fields=True):
    """Hold the values of a segmenter's config."""

    scratch_backbone: Architecture  # network of a run without a card, in the form of a card's ``arch``
    protocol: str | dict[str, Any]


class SegmentationProtocol(Protocol, kw_only=True, forbid_unknown_fields=True):
    """Hold the values of a segmentation protocol; ``configs/segmentation/protocols/gluoncv2018.py`` explains each."""

    COMMON: ClassVar[dict[str, str]] = {
        "resampling": "OpenCV bilinear, without antialiasing",
    }

    image_scale: Pixels
    ratio_range: tuple[Positive, Positive]
    crop: Count
    crop_max_ratio: Fraction
    padding: Literal["black", "mean"]
    blur: Fraction
    photometric: bool
    shortcut_pool: Literal["pool1x1", "pool2x2"]
    num_convs: Count
    concat_input: bool
    dropout: Fraction
    aux_weight: NonNegative
    avg_non_ignore: bool
    head_lr_mult: Positive
    power: NonNegative
    min_lr: NonNegative
    norm: Literal["sync", "local"]
    inference: Literal["whole", "slide", "multi_scale"]
    metric_classes: Literal["gt", "union", "all"]
