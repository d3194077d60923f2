"""Say which subsets of the published datasets the scales between toy and paper are trained on."""

from typing import NamedTuple

from backbones.common.subsets import SubsetOptions

# ten classes that differ much (those of Imagenette), and ten breeds of dogs (those of Imagewoof)
MINI_CLASSES = (
    *("n01440764", "n02086240", "n02087394", "n02088364", "n02089973", "n02093754", "n02096294", "n02099601", "n02102040"),
    *("n02105641", "n02111889", "n02115641", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413"),
    *("n03445777", "n03888257"),
)


class Part(NamedTuple):
    """Hold one dataset of a scale.

    Args:
        layout: its name.
        source: folder of the published dataset below DATA_ROOT.
        out: folder below that of the scale, as its config names it.
        options: of the subset.
    """

    layout: str
    source: str
    out: str
    options: SubsetOptions


SCALES = {
    "mini": (
        Part(
            "imagenet",
            "imagenet",
            "imagenet-mini",
            SubsetOptions(classes=MINI_CLASSES, images=dict(train=200, val=40), short_side=128),
        ),
        Part("voc", "VOCdevkit", "VOCdevkit", SubsetOptions(years=("VOC2007",), images=dict(test=140, train=195, val=95))),
        Part(
            "ade20k",
            "ADEChallengeData2016",
            "ade20k-mini/ADEChallengeData2016",
            SubsetOptions(images=dict(training=357, validation=85), short_side=360),
        ),
    )
}
