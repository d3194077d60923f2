"""Train on VOC07 trainval alone with mmdet's usual settings: for Faster-RCNN with FPN, and as the base of small scales.

The paper does not use this protocol: do not compare its numbers with Table 8.
"""

protocol = dict(
    name="voc07",
    base="detectron2",
    source="chosen here, after mmdet's Faster-RCNN",
    chosen="all",
    networks=("faster_rcnn_fpn",),  # its anchors and regions of 7 x 7 are made for a pyramid of features
    train=("VOC2007/trainval",),
    image_scales=((1000, 600),),
    test_image_scale=(1000, 600),
    length=dict(epochs=12),
    steps=(0.7, 0.9),
    warmup=500,
    warmup_start=0.1,
    clip=dict(max_norm=35, norm_type=2),
    decay_norms=True,
    pad_divisor=32,
    rpn_sample=dict(best=0.3),
    norm="eval",  # statistics of all BN are fixed; gamma and beta are trained
    anchor_scales=(8,),  # times the stride of each level
    proposals_train=(2000, 1000),
    proposals_test=(1000, 1000),
    roi_size=7,
    roi_sampling=2,
    score=0.01,
)
