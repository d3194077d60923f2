"""Reproduce Tables 8 and 9 side by side: the gain of each recipe on ImageNet, on VOC (Faster-RCNN C4) and on ADE20K (FCN).

python tools/study.py plan transfer --scale paper
python tools/study.py run transfer --scale toy --seeds 3

It shares its runs with table8.py and table9.py: after these two nothing is left to run, and its report compares all tasks.
"""

name = "transfer"
recipes = ("b_standard", "d_efficient", "cosine", "smooth", "distill", "mixup", "mixup_distill")
reference = "b_standard"
configs = dict(
    classification="configs/classification/resnet50_{scale}.py",
    detection="configs/detection/faster_rcnn_c4_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("top1", "mAP", "mAP_area", "pixAcc", "mIoU")
published = dict(
    table8=[dict(recipe=r, metric=m, column=m) for r in recipes for m in ("top1", "mAP")],
    table9=[dict(recipe=r, metric=m, column=m) for r in recipes for m in ("pixAcc", "mIoU")],
)
