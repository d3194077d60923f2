"""Follow detectron2's PascalVOC-Detection/faster_rcnn_R_50_C4, about 17 epochs.

detectron2 reports 80.3 AP50 (11-point) with its own ResNet-50.
"""

protocol = dict(
    name="detectron2",
    base="gluoncv2018",
    source="facebookresearch/detectron2: configs/PascalVOC-Detection/faster_rcnn_R_50_C4.yaml, config/defaults.py",
    chosen=(),
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
    rpn_border=-1,
    proposals_test=(6000, 1000),
    smallest_proposal=0,
    roi_sampling=0,
    roi_sample=dict(num=512),
    rpn_beta=0.0,
    roi_beta=0.0,
    score=0.05,
    nms=0.5,
    detections=100,
)
