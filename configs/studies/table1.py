"""Reproduce Table 1: networks of 2016 to 2018 beside ResNet-50 with all tricks; top-1, parameters and multiply-adds.

python tools/study.py plan table1 --scale paper
python tools/study.py run table1 --scale toy

The paper quotes the authors of the other networks; this study trains them with the baseline recipe.
"""

name = "table1"
recipes = ("baseline", "mixup_distill")
reference = "baseline"
_timm = ("resnext50_32x4d", "seresnet50", "seresnext50_32x4d", "densenet201")
networks = dict(
    resnet50=dict(config="configs/classification/resnet50_{scale}.py"),
    **{
        network: dict(
            config="configs/classification/timm_{scale}.py",
            overrides={"model.backbone.name": network},
            recipes=("baseline",),
        )
        for network in _timm
    },
)
metrics = ("top1", "top5")
_rows = dict(
    resnet50="ResNet-50",
    resnext50_32x4d="ResNeXt-50",
    seresnet50="SE-ResNet-50",
    seresnext50_32x4d="SE-ResNeXt-50",
    densenet201="DenseNet-201",
)
_metrics = ("top1", "top5", "flops_g")
published = dict(
    table1=[
        *(
            dict(recipe="baseline", network=network, metric=metric, row=row, column=metric)
            for network, row in _rows.items()
            for metric in _metrics
        ),
        *(
            dict(recipe="mixup_distill", network="resnet50", metric=metric, row="ResNet-50 + tricks", column=metric)
            for metric in _metrics
        ),
    ],
)
