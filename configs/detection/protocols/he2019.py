"""Follow the paper's detection: GluonCV's code of the time with a "linear warmup and long training schedule".

Table 8 reports 77.54 (B-standard) to 81.33 (+ distill w/ mixup), single runs. The paper states the data and little else;
``chosen`` names the values that it does not state.
"""

protocol = dict(
    name="he2019",
    base="gluoncv2018",
    source="arXiv 1812.01187 section 6.1; values that it does not give as in gluoncv2018, or chosen here",
    chosen=dict.fromkeys(
        (
            *("networks", "difficult_in_training", "smallest_box", "image_scales", "test_image_scale", "flip", "batch", "gamma"),
            *("lr", "momentum", "weight_decay", "clip", "decay_norms", "pad_divisor", "frozen_stages", "norm", "extra_norm"),
            *("anchor_scales", "anchor_ratios", "rpn_sample", "rpn_border", "proposals_train", "proposals_test", "proposal_nms"),
            *("smallest_proposal", "roi_size", "roi_sampling", "roi_aligned", "roi_sample", "box_std", "rpn_beta", "roi_beta"),
            *("score", "nms", "detections", "metric", "selection", "anchors", "best_anchors", "batches", "box_limit"),
        ),
        "not in the paper; as in gluoncv2018",
    )
    | dict(
        length='"long training schedule" in the paper: twice that of gluoncv2018',
        steps="not in the paper; at the same part of the length as in gluoncv2018",
        warmup='"linear warmup" in the paper, without a number',
        warmup_start="not in the paper; as in GluonCV's schedule for COCO",
    ),
    length=dict(epochs=40),
    warmup=1000,
    warmup_start=1 / 3,
)
