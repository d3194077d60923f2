"""Declare the keys of a classification config, with types and ranges."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from backbones.common.schema import Count, Number, Positive, PositiveFraction
from backbones.common.values import Values

Channels = tuple[Number, Number, Number]
Scales = tuple[Positive, Positive, Positive]


class ClassificationValues(Values, kw_only=True, forbid_unknown_fields=True):
    """Hold the values of a classifier's config."""

    epochs: Count
    warmup_epochs: Positive  # length of the trick warmup
    batch: Count  # over all processes
    micro_batch: Count  # images over which BN takes its statistics
    lr_at_256: Positive  # learning rate for a batch of 256 images; scaled linearly for another batch
    low_precision: Literal["auto", "float16", "bfloat16", "float32"] | None = None
    num_classes: Count
    val_folder: str
    test_batch: Count
    mean: Channels
    std: Scales
    size: Annotated[int, Meta(ge=8, le=4096)]  # side of an image in pixels
    crop_scale: tuple[PositiveFraction, PositiveFraction]
    optim_wrapper: dict[str, Any]
    teacher: str | None = None  # the folder of a card; set by the trick distillation
