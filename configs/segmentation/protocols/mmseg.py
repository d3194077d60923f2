"""Follow mmseg's FCN R-50-D8 on ADE20K with 80k iterations, which publishes 35.94 mIoU.

Its head has two convolutions and concatenates its input. Its ResNetV1c is a ResNet-C; here the card decides the variant. The
rest of the network is the same. mmseg has its own set of classes for the mean.
"""

protocol = dict(
    name="mmseg",
    base="gluoncv2018",
    source="open-mmlab/mmsegmentation: configs/fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
    chosen=dict(shortcut_pool="of a ResNet-D; the source has a ResNet-C, which has none"),
    image_scale=(2048, 512),
    test_image_scale=(2048, 512),
    crop=512,
    crop_max_ratio=0.75,
    padding="mean",
    blur=0.0,
    photometric=True,
    num_convs=2,
    concat_input=True,
    aux_weight=0.4,
    avg_non_ignore=False,  # the loss is the sum over labelled pixels divided by the number of all pixels
    length=dict(updates=80000),
    head_lr_mult=1.0,
    weight_decay=5e-4,
    min_lr=1e-4,
    metric_classes="union",  # mIoU over the classes in the ground truth or in the prediction
)
