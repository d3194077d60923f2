"""The paper's segmentation: "FCN, dilation on stage-3 and stage-4", and nothing else. All else as GluonCV's code of its time.

Table 9 has 37.05 mIoU (B-standard) to 39.33 (+ distill w/ mixup), single runs. What the paper does not say is named in
``chosen``: GluonCV's values, with mIoU over the classes that the ground truth has.
"""

protocol = dict(
    name="he2019",
    base="gluoncv2018",
    source="arXiv 1812.01187 section 6.2; values that it does not give as in gluoncv2018, or chosen here",
    chosen=(  # values that the source does not give
        *("image_scale", "ratio_range", "test_image_scale", "crop", "crop_max_ratio", "flip", "blur", "photometric"),
        *("shortcut_pool", "num_convs", "concat_input", "dropout", "aux_weight", "avg_non_ignore", "batch", "length", "lr"),
        *("head_lr_mult", "momentum", "weight_decay", "power", "min_lr", "warmup", "norm", "inference", "metric_classes"),
    ),
    metric_classes="gt",  # mIoU over those in the ground truth
)
