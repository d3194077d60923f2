"""Reproduce Table 8: Faster-RCNN C4 on Pascal VOC from the paper's seven ResNet-50 backbones.

python tools/study.py plan table8 --scale paper
python tools/study.py run table8 --scale toy --seeds 3

table9.py uses the same seven pretrainings. The rows with mixup train 5/3 as many epochs as the others, as in the paper.
"""

name = "table8"
recipes = ("b_standard", "d_efficient", "cosine", "smooth", "distill", "mixup", "mixup_distill")
reference = "b_standard"
configs = dict(
    classification="configs/classification/resnet50_{scale}.py",
    detection="configs/detection/faster_rcnn_c4_{scale}.py",
)
metrics = ("top1", "mAP", "mAP_area")
published = dict(
    table8=[dict(recipe=r, metric=m, column=m) for r in recipes for m in ("top1", "mAP")],
)
