"""Follow detectron2's PascalVOC-Detection/faster_rcnn_R_50_C4, about 17 epochs.

detectron2 reports 80.3 AP50 (11-point) with its own ResNet-50.
"""

protocol = dict(
    name="detectron2",
    base="gluoncv2018",
    source="facebookresearch/detectron2: configs/PascalVOC-Detection/faster_rcnn_R_50_C4.yaml, config/defaults.py",
    chosen=dict(
        best_anchors="matched to that object, as in mmdet; the source matches it to the object that it overlaps most",
        boxes="1 is subtracted from all four sides; the source subtracts it from the left and upper ones alone",
        resampling="the source resizes with Pillow, which smooths an image that it shrinks",
    ),
    image_scales=tuple((1333, short) for short in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)),
    test_image_scale=(1333, 800),
    batch=16,
    length=dict(updates=18000),
    steps=(2 / 3, 8 / 9),
    warmup=100,
    warmup_start=1e-3,
    lr=0.02,
    weight_decay=1e-4,
    clip=None,
    decay_norms=False,
    rpn_sample=dict(best=0.0),
    rpn_border=-1,
    proposals_test=(6000, 1000),
    smallest_proposal=0,
    roi_sampling=0,
    roi_aligned=True,
    roi_sample=dict(num=512),
    rpn_beta=0.0,
    roi_beta=0.0,
    score=0.05,
    nms=0.5,
    detections=100,
)
