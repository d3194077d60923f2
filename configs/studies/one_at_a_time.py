"""Add each trick alone to B-standard, through all three tasks, with a control from scratch.

python tools/study.py plan one_at_a_time --scale paper
python tools/study.py run one_at_a_time --scale toy

resnet_c and resnet_d replace resnet_b. A trick that helps only together with another one (large_batch without warmup) can show a
loss. The paper has no such table: its rows are cumulative.
"""

name = "one_at_a_time"
recipes = (
    *("scratch", "b_standard", "only_resnet_c", "only_resnet_d", "only_zero_gamma", "only_large_batch", "only_low_precision"),
    *("only_mixup", "only_label_smoothing", "only_distillation", "only_no_bias_decay", "only_cosine", "only_warmup"),
)
reference = "b_standard"
configs = dict(
    classification="configs/classification/resnet50_{scale}.py",
    detection="configs/detection/faster_rcnn_c4_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("top1", "mAP", "mAP_area", "pixAcc", "mIoU")
published = dict()
