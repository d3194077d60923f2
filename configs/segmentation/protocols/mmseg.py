"""mmseg's FCN R-50-D8 on ADE20K, 80k iterations: two convolutions and the input beside them in the head. It publishes 35.94 mIoU.

Its ResNetV1c is a ResNet-C; here the card decides. Same network elsewhere, and its own way of taking the mean over classes.
"""

protocol = dict(
    name="mmseg",
    base="gluoncv2018",
    source="open-mmlab/mmsegmentation: configs/fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
    chosen=(),  # values that the source does not give
    image_scale=(2048, 512),
    test_image_scale=(2048, 512),
    crop=512,
    crop_max_ratio=0.75,
    blur=0.0,
    photometric=True,
    num_convs=2,
    concat_input=True,
    aux_weight=0.4,
    avg_non_ignore=False,  # the loss is summed over labelled pixels and divided by all
    length=dict(updates=80000),
    head_lr_mult=1.0,
    weight_decay=5e-4,
    min_lr=1e-4,
    metric_classes="union",  # mIoU over those in the ground truth or in the prediction
)
