"""Reproduce Table 5: ResNet-50 and its variants B, C and D, all with efficient.

python tools/study.py plan table5 --scale paper
python tools/study.py run table5 --scale toy
"""

name = "table5"
labels = dict(efficient="ResNet-50", b_efficient="ResNet-50-B", c_efficient="ResNet-50-C", d_efficient="ResNet-50-D")
recipes = tuple(labels)
reference = "efficient"
configs = dict(classification="configs/classification/resnet50_{scale}.py")
metrics = ("top1", "top5")
published = dict(
    table5=[
        dict(recipe=recipe, network="resnet50", metric=metric, row=row, column=metric)
        for recipe, row in labels.items()
        for metric in (*metrics, "params_m", "flops_g")
    ],
)
