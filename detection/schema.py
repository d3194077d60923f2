"""Declare the values of a detection config and of a detection protocol, with types and ranges."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from backbones.common.schema import Count, Fraction, Index, NonNegative, Positive, PositiveFraction
from backbones.common.values import Values
from backbones.networks.architecture import Architecture
from backbones.transfer.protocols import Pixels, Protocol

Split = Annotated[str, Meta(pattern=r"^\w+/\w+$", description="a year and a list of VOCdevkit, such as VOC2007/trainval")]


class DetectionValues(Values, kw_only=True, forbid_unknown_fields=True):
    """Declare the values of a detector's config."""

    classes: Annotated[tuple[str, ...], Meta(min_length=1)]
    scratch_backbone: Architecture  # network of a row without pretraining, written like a card's ``arch``
    protocol: str | dict[str, Any]


class RPNSample(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Declare the anchors that the region proposal network trains on.

    ``num`` is their number per image and ``positive`` the positive part. An anchor is positive from IoU ``high`` on and negative
    below IoU ``low``. The best anchors of an object are positive, too, from IoU ``best`` on.
    """

    num: Count
    positive: Fraction
    high: Fraction
    low: Fraction
    best: Fraction


class RoISample(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Declare the regions that the second stage trains on.

    ``num`` is their number per image, ``positive`` the positive part, and ``iou`` the smallest IoU of a positive region.
    """

    num: Count
    positive: Fraction
    iou: Fraction


class DetectionProtocol(Protocol, kw_only=True, forbid_unknown_fields=True):
    """Declare the values of a detection protocol; ``configs/detection/protocols/gluoncv2018.py`` explains each of them."""

    COMMON: ClassVar[dict[str, str]] = {
        "anchors": "exact sizes, centred on the corner of a cell",
        "best_anchors": "the best anchor of an object is matched to it, even if it overlaps another one more",
        "batches": "images of one orientation, padded to the largest",
        "boxes": "1 is subtracted from all four sides of an annotation",
        "resampling": "OpenCV bilinear, without antialiasing",
        "bn_statistics": "the running ones in the test",
        "box_limit": "a box changes its width and height by a factor of 62.5 at most",
    }

    train: Annotated[tuple[Split, ...], Meta(min_length=1)]
    test: Split
    difficult_in_training: bool
    smallest_box: Index
    image_scales: Annotated[tuple[Pixels, ...], Meta(min_length=1)]
    steps: tuple[PositiveFraction, ...]
    gamma: Positive
    warmup_start: PositiveFraction  # MMEngine multiplies the rate, so that from 0 it would stay 0
    clip: dict[str, Any] | None
    decay_norms: bool
    pad_divisor: Count
    frozen_stages: Annotated[int, Meta(ge=-1, le=4)]
    norm: Literal["frozen", "eval", "sync"]
    extra_norm: bool
    anchor_scales: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    anchor_ratios: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    rpn_sample: RPNSample
    rpn_border: int
    proposals_train: tuple[Count, Count]
    proposals_test: tuple[Count, Count]
    proposal_nms: Fraction
    smallest_proposal: NonNegative
    roi_size: Count
    roi_sampling: Index
    roi_aligned: bool
    roi_sample: RoISample
    box_std: tuple[Positive, Positive, Positive, Positive]
    rpn_beta: NonNegative
    roi_beta: NonNegative
    score: Fraction
    nms: Fraction
    detections: Count
    metric: Literal["11-point"]
