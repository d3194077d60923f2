"""Reproduce Table 9: an FCN with dilated stages 3 and 4 on ADE20K from the paper's seven ResNet-50 backbones.

python tools/study.py plan table9 --scale paper
python tools/study.py run table9 --scale toy --seeds 3

table8.py uses the same seven pretrainings. The rows with mixup train 5/3 as many epochs as the others, as in the paper.
"""

name = "table9"
recipes = ("b_standard", "d_efficient", "cosine", "smooth", "distill", "mixup", "mixup_distill")
reference = "b_standard"
configs = dict(
    classification="configs/classification/resnet50_{scale}.py",
    segmentation="configs/segmentation/fcn_{scale}.py",
)
metrics = ("top1", "pixAcc", "mIoU")
published = dict(
    table9=[dict(recipe=r, metric=m, column=m) for r in recipes for m in ("top1", "pixAcc", "mIoU")],
)
