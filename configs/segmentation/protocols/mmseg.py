"""mmseg's FCN R-50-D8 on ADE20K, 80k iterations: two convolutions and the input beside them in the head. It publishes 35.94 mIoU.

Its ResNetV1c is a ResNet-C; here the card decides. Same network elsewhere, and its own way of taking the mean over classes.
"""

protocol = dict(
    name="mmseg",
    source="open-mmlab/mmsegmentation: configs/fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
    chosen=(),  # values that the source does not give
    networks=("fcn",),
    image_scale=(2048, 512),  # the long side at most, and the short side
    ratio_range=(0.5, 2.0),  # times image_scale, drawn for each image
    test_image_scale=(2048, 512),
    crop=512,
    crop_max_ratio=0.75,  # largest share of a crop that one class may have; 1: any crop will do
    flip=0.5,
    blur=0.0,
    photometric=True,  # mmseg's PhotoMetricDistortion
    shortcut_pool="pool1x1",  # of ResNet-D in dilated stages
    num_convs=2,
    concat_input=True,
    dropout=0.1,
    aux_weight=0.4,
    avg_non_ignore=False,  # the loss is summed over labelled pixels and divided by all
    batch=16,  # in all
    length=dict(updates=80000),
    lr=0.01,
    head_lr_mult=1.0,
    momentum=0.9,
    weight_decay=5e-4,
    power=0.9,  # of the polynomial decay
    min_lr=1e-4,
    warmup=0,  # updates
    norm="sync",  # over all processes; BN in one
    inference="whole",  # the whole image at one scale
    metric_classes="union",  # mIoU over those in the ground truth or in the prediction
    selection="last",
)
