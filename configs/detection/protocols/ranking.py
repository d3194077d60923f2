"""Rank backbones by a short training of Faster-RCNN C4 on VOC07 trainval: a sixteenth of the training images of he2019.

Published nowhere and never run: whether it ranks backbones as a long training does is not known. Repeat a close call by he2019.
"""

protocol = dict(
    name="ranking",
    base="detectron2",
    source="chosen here, after detectron2's VOC config",
    chosen="all",
    train=("VOC2007/trainval",),
    image_scales=((1000, 600),),
    test_image_scale=(1000, 600),
    length=dict(epochs=8),
    warmup=200,
)
