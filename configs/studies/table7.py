"""Reproduce Table 7: ResNet-50-D on Places365, efficient against all refinements except distillation.

python tools/study.py plan table7 --scale paper
python tools/study.py run table7 --scale toy

At toy there is no second synthetic dataset, so the runs are those of Table 6.
"""

name = "table7"
labels = dict(d_efficient="Efficient", mixup="Best")
recipes = tuple(labels)
reference = "d_efficient"
configs = dict(classification="configs/classification/resnet50_places365_{scale}.py")
metrics = ("top1", "top5")
published = dict(
    table7=[
        dict(recipe=recipe, network="resnet50", metric=metric, row=row, column=f"val_{metric}")
        for recipe, row in labels.items()
        for metric in metrics
    ],
)
