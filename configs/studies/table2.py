"""Reproduce Table 2: the baseline of ResNet-50, Inception-V3 and MobileNet, beside the figures of their authors.

python tools/study.py plan table2 --scale paper
python tools/study.py run table2 --scale toy
"""

name = "table2"
recipes = ("baseline",)
reference = "baseline"
networks = dict(
    resnet50=dict(config="configs/classification/resnet50_{scale}.py"),
    inception_v3=dict(config="configs/classification/inception_v3_{scale}.py"),
    mobilenet=dict(config="configs/classification/mobilenet_{scale}.py"),
)
metrics = ("top1", "top5")
_rows = dict(resnet50="ResNet-50", inception_v3="Inception-V3", mobilenet="MobileNet")
published = dict(
    table2=[
        dict(recipe=recipe, network=network, metric=metric, row=row, column=f"{recipe}_{metric}")
        for recipe in ("baseline", "reference")  # reference: figures of the authors of each network
        for network, row in _rows.items()
        for metric in metrics
    ],
)
