"""The paper's segmentation: "FCN, dilation on stage-3 and stage-4", and nothing else. All else as GluonCV's code of its time.

Table 9 has 37.05 mIoU (B-standard) to 39.33 (+ distill w/ mixup), single runs. What the paper does not say is named in
``chosen``: GluonCV's values, with mIoU over the classes that the ground truth has.
"""

protocol = dict(
    name="he2019",
    source="arXiv 1812.01187 section 6.2; values that it does not give as in gluoncv2018, or chosen here",
    chosen=(  # values that the source does not give
        *("image_scale", "ratio_range", "test_image_scale", "crop", "crop_max_ratio", "flip", "blur", "photometric"),
        *("shortcut_pool", "num_convs", "concat_input", "dropout", "aux_weight", "avg_non_ignore", "batch", "length", "lr"),
        *("head_lr_mult", "momentum", "weight_decay", "power", "min_lr", "warmup", "norm", "inference", "metric_classes"),
    ),
    networks=("fcn",),
    image_scale=(2080, 520),  # the long side at most, and the short side
    ratio_range=(0.5, 2.0),  # times image_scale, drawn for each image
    test_image_scale=(2080, 520),
    crop=480,
    crop_max_ratio=1.0,  # largest share of a crop that one class may have; 1: any crop will do
    flip=0.5,
    blur=0.5,  # part of the images that a Gaussian of a radius drawn from 0..1 px blurs
    photometric=False,  # mmseg's PhotoMetricDistortion
    shortcut_pool="pool1x1",  # of ResNet-D in dilated stages
    num_convs=1,
    concat_input=False,
    dropout=0.1,
    aux_weight=0.5,
    avg_non_ignore=True,  # the loss is the mean over labelled pixels
    batch=16,  # in all
    length=dict(epochs=120),
    lr=0.01,
    head_lr_mult=10.0,
    momentum=0.9,
    weight_decay=1e-4,
    power=0.9,  # of the polynomial decay
    min_lr=0.0,
    warmup=0,  # updates
    norm="sync",  # over all processes; BN in one
    inference="whole",  # the whole image at one scale
    metric_classes="gt",  # mIoU over those in the ground truth
    selection="last",
)
