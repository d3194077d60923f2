"""Leave out one trick at a time from the last row of Table 6, which has all tricks, through all three tasks.

python tools/study.py plan leave_one_out --scale paper
python tools/study.py run leave_one_out --scale toy

The row without resnet_d has resnet_b. A loss here is the gain of a trick on top of all others. The paper has no such table.
"""

name = "leave_one_out"
recipes = (
    *("scratch", "mixup_distill", "without_resnet_d", "without_zero_gamma", "without_large_batch", "without_low_precision"),
    *("without_mixup", "without_label_smoothing", "without_distillation", "without_no_bias_decay", "without_cosine"),
    "without_warmup",
)
reference = "mixup_distill"
configs = dict(
    classification="configs/classification/resnet50_{scale}.py",
    detection="configs/detection/faster_rcnn_c4_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("top1", "mAP", "mAP_area", "pixAcc", "mIoU")
published = dict()
