"""Reproduce Table 4: the parts of efficient one by one on ResNet-50, at the base batch and at four times that batch.

python tools/study.py plan table4 --scale paper
python tools/study.py run table4 --scale toy
"""

name = "table4"
_rows = dict(
    linear_scaling="Linear scaling",
    warmup="+ LR warmup",
    zero_gamma="+ Zero gamma",
    no_bias_decay="+ No bias decay",
    low_precision="+ FP16",
)
recipes = tuple(f"{batch}_{step}" for batch in ("bs256", "bs1024") for step in _rows)
reference = "bs256_linear_scaling"
configs = dict(classification="configs/classification/resnet50_{scale}.py")
metrics = ("top1", "top5")
published = dict(
    table4=[
        dict(recipe=f"{batch}_{step}", network="resnet50", metric=metric, row=row, column=f"{batch}_{metric}")
        for batch in ("bs256", "bs1024")
        for step, row in _rows.items()
        for metric in metrics
    ],
)
