"""Follow the paper's segmentation, which is given only as "FCN, dilation on stage-3 and stage-4".

Table 9 reports 37.05 mIoU (B-standard) to 39.33 (+ distill w/ mixup), single runs. ``chosen`` names the values that the paper
does not state. They are those of GluonCV's code of the time, but mIoU is over the classes that occur in the ground truth.
"""

protocol = dict(
    name="he2019",
    base="gluoncv2018",
    source="arXiv 1812.01187 section 6.2; values that it does not give as in gluoncv2018, or chosen here",
    chosen=dict.fromkeys(  # values that the source does not give
        (
            *(
                "image_scale",
                "ratio_range",
                "test_image_scale",
                "crop",
                "crop_max_ratio",
                "padding",
                "flip",
                "blur",
                "photometric",
            ),
            *("shortcut_pool", "num_convs", "concat_input", "dropout", "aux_weight", "avg_non_ignore", "batch", "length", "lr"),
            *("head_lr_mult", "momentum", "weight_decay", "power", "min_lr", "warmup", "norm", "inference", "selection"),
            "resampling",
        ),
        "not in the paper; as in gluoncv2018",
    )
    | dict(metric_classes="not in the paper; mIoU is over the classes in the ground truth"),
    metric_classes="gt",
)
