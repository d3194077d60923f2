"""Reproduce Table 6: cosine decay, label smoothing, distillation and mixup on ResNet-50-D, Inception-V3 and MobileNet.

python tools/study.py plan table6 --scale paper
python tools/study.py run table6 --scale toy

The rows with mixup train 5/3 as many epochs as the others, as in the paper. One teacher with seed 0 teaches all seeds of a row.
"""

name = "table6"
labels = dict(
    d_efficient="Efficient",
    cosine="+ cosine decay",
    smooth="+ label smoothing",
    distill="+ distill w/o mixup",
    mixup="+ mixup w/o distill",
    mixup_distill="+ distill w/ mixup",
)
recipes = tuple(labels)
reference = "d_efficient"
networks = dict(
    resnet50=dict(config="configs/classification/resnet50_{scale}.py"),
    inception_v3=dict(config="configs/classification/inception_v3_{scale}.py"),
    mobilenet=dict(config="configs/classification/mobilenet_{scale}.py"),
)
metrics = ("top1", "top5")
_columns = dict(resnet50="ResNet-50-D", inception_v3="Inception-V3", mobilenet="MobileNet")
published = dict(
    table6=[
        dict(recipe=recipe, network=network, metric=metric, row=row, column=f"{column}_{metric}")
        for recipe, row in labels.items()
        for network, column in _columns.items()
        for metric in metrics
    ],
)
