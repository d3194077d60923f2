"""Follow GluonCV's train_faster_rcnn.py for VOC at c1e45abc of 2018-12-06, the code closest to the paper.

That commit is of the day after the paper. GluonCV published 78.31 for ResNet-50-B, the best epoch on the test set; the last
epoch has 77.66.
"""

protocol = dict(
    name="gluoncv2018",
    source="dmlc/gluon-cv c1e45abc: scripts/detection/faster_rcnn/train_faster_rcnn.py, gluoncv/model_zoo/faster_rcnn",
    chosen=dict(  # values that the source does not give, or that differ here: what and why
        detections="400 for each image; the source returns all that survive NMS, up to 300 for each class",
        selection="the last checkpoint; the source reports the best epoch on the test set",
        anchors="exact sizes; the source rounds base sides to 23 x 12, 16 x 16 and 11 x 22, less 1 px, around 7.5 px",
        best_anchors="matched to that object, as in mmdet; the source matches it to the object that it overlaps most",
        batches="mixed batches are padded; the source has one image on each of four GPUs, in any order",
        box_limit="1000/16, as in mmdet; the source has none for VOC",
    ),
    networks=("faster_rcnn_c4",),
    train=("VOC2007/trainval", "VOC2012/trainval"),
    test="VOC2007/test",
    difficult_in_training=True,
    smallest_box=0,  # pixels; smaller boxes are left out of training
    image_scales=((1000, 600),),  # limits of the long and the short side; of several one is drawn per image
    test_image_scale=(1000, 600),
    flip=0.5,
    batch=4,  # over all processes
    length=dict(epochs=20),
    steps=(0.7,),  # parts of the length; the source has a second step at the end, which never acts
    gamma=0.1,
    warmup=0,  # updates
    warmup_start=1.0,  # part of the learning rate at the start of the warmup
    lr=1e-3,  # for the batch above; scaled with another batch
    momentum=0.9,
    weight_decay=5e-4,
    clip=dict(type="value", clip_value=5),
    decay_norms=True,  # weight decay of gamma and beta, where they are trained
    pad_divisor=1,  # images are padded to a multiple of it
    frozen_stages=1,
    norm="frozen",  # statistics, gamma and beta of all BN
    extra_norm=False,
    anchor_scales=(2, 4, 8, 16, 32),  # times the stride of 16 px
    anchor_ratios=(0.5, 1.0, 2.0),
    rpn_sample=dict(num=256, positive=0.5, high=0.7, low=0.3, best=0.3),
    rpn_border=0,  # anchors that reach further out of the image are left out of training
    proposals_train=(12000, 2000),  # before NMS and after
    proposals_test=(6000, 300),
    proposal_nms=0.7,
    smallest_proposal=16,
    roi_size=14,
    roi_sampling=2,  # points along each side of a bin; 0: as many as pixels
    roi_aligned=False,  # shift regions by half a pixel
    roi_sample=dict(num=128, positive=0.25, iou=0.5),
    box_std=(0.1, 0.1, 0.2, 0.2),
    rpn_beta=1 / 9,  # beta of the smooth L1 loss; 0 is L1
    roi_beta=1.0,
    score=1e-4,  # lowest score of a detection
    nms=0.3,
    detections=400,  # per image, at most
    metric="11-point",
    selection="last",
)
