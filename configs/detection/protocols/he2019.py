"""The paper's detection: GluonCV's code of its time with "linear warmup and long training schedule", given without numbers.

Table 8 has 77.54 (B-standard) to 81.33 (+ distill w/ mixup), single runs. What the paper does not say is named in ``chosen``.
"""

protocol = dict(
    name="he2019",
    source="arXiv 1812.01187 section 6.1; values that it does not give as in gluoncv2018, or chosen here",
    chosen=("length", "steps", "warmup", "warmup_start"),  # values that the source does not give
    networks=("faster_rcnn_c4",),
    train=("VOC2007/trainval", "VOC2012/trainval"),
    test="VOC2007/test",
    difficult_in_training=True,
    smallest_box=0,  # pixels; smaller boxes are not trained on
    image_scales=((1000, 600),),  # the long side at most, and the short side; of several one is drawn for each image
    test_image_scale=(1000, 600),
    flip=0.5,
    batch=4,  # in all
    length=dict(epochs=40),
    steps=(28,),  # in the unit of the length, at the same 7/10 of it as in gluoncv2018
    gamma=0.1,
    warmup=1000,  # updates
    warmup_start=1 / 3,  # part of the learning rate, as in GluonCV's schedule for COCO
    lr=1e-3,
    momentum=0.9,
    weight_decay=5e-4,
    clip=dict(type="value", clip_value=5),
    frozen_stages=1,
    norm="frozen",  # statistics, gamma and beta of all BN
    extra_norm=False,
    anchor_scales=(2, 4, 8, 16, 32),  # times the stride of 16 px
    anchor_ratios=(0.5, 1.0, 2.0),
    rpn_sample=dict(num=256, positive=0.5, high=0.7, low=0.3),
    rpn_border=0,  # anchors that reach further out of the image are not trained on
    proposals_train=(12000, 2000),  # before NMS and after
    proposals_test=(6000, 300),
    proposal_nms=0.7,
    smallest_proposal=16,
    roi_size=14,
    roi_sampling=2,
    roi_sample=dict(num=128, positive=0.25, iou=0.5),
    box_std=(0.1, 0.1, 0.2, 0.2),
    rpn_beta=1 / 9,  # of the smooth L1 loss; 0 is L1
    roi_beta=1.0,
    score=1e-4,  # smallest of a detection
    nms=0.3,
    detections=400,  # an image, at most
    metric="11-point",
    selection="last",
)
