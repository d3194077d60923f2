"""Define the recipes: rows of the paper's tables as named sets of tricks.

``parent`` is the row that a recipe is compared with, and ``also`` is a second one. ``label`` is the name in the paper's Tables 6,
8 and 9. ``teacher`` is the recipe of the network that a distilled one learns from. 'scratch' is no recipe of the paper: it trains
the dense tasks from random weights, as a control for the value of pretraining. The last three rows of Table 6 are alternatives
on top of smooth. With mixup the paper trains 200 epochs instead of 120; the rows named _same train 120.
"""

_efficient = ("large_batch", "low_precision", "zero_gamma", "no_bias_decay", "warmup")
_d_efficient = ("resnet_d", *_efficient)
_cosine = (*_d_efficient, "cosine")
_smooth = (*_cosine, "label_smoothing")

recipes = dict(
    scratch=dict(tricks=None, parent=None, label="scratch"),
    baseline=dict(tricks=(), parent=None, label="baseline"),
    b_standard=dict(tricks=("resnet_b",), parent=None, label="B-standard"),
    efficient=dict(tricks=_efficient, parent="baseline", label="Efficient"),
    b_efficient=dict(tricks=("resnet_b", *_efficient), parent="efficient", label="ResNet-50-B"),
    c_efficient=dict(tricks=("resnet_c", *_efficient), parent="efficient", label="ResNet-50-C"),
    d_efficient=dict(tricks=_d_efficient, parent="b_standard", label="D-efficient"),
    cosine=dict(tricks=_cosine, parent="d_efficient", label="+ cosine"),
    smooth=dict(tricks=_smooth, parent="cosine", label="+ smooth"),
    distill=dict(tricks=(*_smooth, "distillation"), parent="smooth", teacher="smooth", label="+ distill w/o mixup"),
    mixup=dict(tricks=(*_smooth, "mixup"), parent="smooth", label="+ mixup w/o distill"),
    mixup_same=dict(tricks=(*_smooth, ("mixup", dict(schedule="same"))), parent="smooth", label="+ mixup, as many epochs"),
    mixup_distill=dict(
        tricks=(*_smooth, "mixup", "distillation"),
        parent="mixup",
        also="distill",
        teacher="mixup",
        label="+ distill w/ mixup",
    ),
    mixup_distill_same=dict(
        tricks=(*_smooth, ("mixup", dict(schedule="same")), "distillation"),
        parent="mixup_same",
        also="distill",
        teacher="mixup_same",
        label="+ distill w/ mixup, as many epochs",
    ),
    # Table 4: the parts of efficient one by one, at the base batch and at four times that batch (256 and 1024 at scale paper)
    bs256_linear_scaling=dict(tricks=(), parent=None, label="BS=256 Linear scaling"),
    bs256_warmup=dict(tricks=("warmup",), parent="bs256_linear_scaling", label="BS=256 + LR warmup"),
    bs256_zero_gamma=dict(tricks=("warmup", "zero_gamma"), parent="bs256_warmup", label="BS=256 + Zero gamma"),
    bs256_no_bias_decay=dict(
        tricks=("warmup", "zero_gamma", "no_bias_decay"),
        parent="bs256_zero_gamma",
        label="BS=256 + No bias decay",
    ),
    bs256_low_precision=dict(
        tricks=("warmup", "zero_gamma", "no_bias_decay", "low_precision"),
        parent="bs256_no_bias_decay",
        label="BS=256 + FP16",
    ),
    bs1024_linear_scaling=dict(tricks=("large_batch",), parent="bs256_linear_scaling", label="BS=1024 Linear scaling"),
    bs1024_warmup=dict(tricks=("large_batch", "warmup"), parent="bs1024_linear_scaling", label="BS=1024 + LR warmup"),
    bs1024_zero_gamma=dict(
        tricks=("large_batch", "warmup", "zero_gamma"),
        parent="bs1024_warmup",
        label="BS=1024 + Zero gamma",
    ),
    bs1024_no_bias_decay=dict(
        tricks=("large_batch", "warmup", "zero_gamma", "no_bias_decay"),
        parent="bs1024_zero_gamma",
        label="BS=1024 + No bias decay",
    ),
    bs1024_low_precision=dict(tricks=_efficient, parent="bs1024_no_bias_decay", label="BS=1024 + FP16"),
)

# one_at_a_time: a trick alone on top of b_standard; the variants of the network replace resnet_b
_alone = (*_efficient, "cosine", "label_smoothing", "mixup")
recipes.update({f"only_{t}": dict(tricks=("resnet_b", t), parent="b_standard", label=f"B + {t}") for t in _alone})
recipes.update({f"only_{t}": dict(tricks=(t,), parent="b_standard", label=t) for t in ("resnet_c", "resnet_d")})
recipes["only_distillation"] = dict(
    tricks=("resnet_b", "distillation"),
    parent="b_standard",
    teacher="smooth",
    label="B + distillation",
)
# leave_one_out: mixup_distill without one of its tricks; the teacher is trained like its student, so without mixup in that row
_all = (*_smooth, "mixup", "distillation")
recipes.update(
    {
        f"without_{t}": dict(
            tricks=tuple(other for other in _all if other != t) + ("resnet_b",) * (t == "resnet_d"),
            parent="mixup_distill",
            label=f"all - {t}",
        )
        | (dict() if t == "distillation" else dict(teacher="smooth" if t == "mixup" else "mixup"))
        for t in _all
    }
)

# The teacher of every distilled network: ResNet-152 (D by its recipe; section 5.3), with seed 0 for students of every seed.
teacher = dict(
    config="configs/classification/resnet50_{scale}.py",
    overrides={"model.backbone.depth": 152},
)

# Tricks that do not apply to a network: variants of the ResNet, and zero-gamma without residual blocks, as in the paper's code.
_resnet = ("resnet_b", "resnet_c", "resnet_d")
without = dict(inception_v3=(*_resnet, "zero_gamma"), mobilenet=(*_resnet, "zero_gamma"))
