"""Reproduce Table 3: efficient (large batch, low precision and the tricks for them) against the baseline, with minutes per epoch.

python tools/study.py plan table3 --scale paper
python tools/study.py run table3 --scale toy
"""

name = "table3"
recipes = ("baseline", "efficient")
reference = "baseline"
networks = dict(
    resnet50=dict(config="configs/classification/resnet50_{scale}.py"),
    inception_v3=dict(config="configs/classification/inception_v3_{scale}.py"),
    mobilenet=dict(config="configs/classification/mobilenet_{scale}.py"),
)
metrics = ("top1", "top5")
_rows = dict(resnet50="ResNet-50", inception_v3="Inception-V3", mobilenet="MobileNet")
published = dict(
    table3=[
        dict(recipe=recipe, network=network, metric=metric, row=row, column=f"{recipe}_{metric}")
        for recipe in recipes
        for network, row in _rows.items()
        for metric in (*metrics, "min_per_epoch")
    ],
)
