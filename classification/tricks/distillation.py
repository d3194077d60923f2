"""Declare knowledge distillation (section 5.3 of the paper)."""

from math import isfinite
from pathlib import Path

from classification.tricks.declare import Gain, trick

FORMS = ("paper", "gluoncv")


@trick(
    sets=("model.distillation", "teacher"),
    gain=Gain("table6", ("+ distill w/o mixup", "ResNet-50-D_top1"), ("+ label smoothing", "ResNet-50-D_top1")),
)
def distillation(cfg, teacher: str = "", temperature: float = 20.0, form: str = "paper") -> None:
    """Train with l(p, softmax(z)) + T^2 l(softmax(r / T), softmax(z / T)), z from the student, r from the teacher (equation 6).

    Why: the probabilities of a stronger network tell the student how alike the classes of an image are, which a label does not.

    The targets p are smoothed and mixed as without the trick. The teacher gets the same batch as the student, mixed if mixup is
    on. The paper's teacher is a ResNet-152-D with cosine decay and label smoothing, and with mixup if the student has mixup.

    Args:
        teacher: folder of a card (exported weights and facts of a backbone) that includes its classifier.
        temperature: T, above 0.
        form: 'paper', or 'gluoncv' for half of the loss (GluonCV's hard weight of 0.5), which halves the gradient relative to
            the weight decay.

    Raises:
        ValueError: no teacher, or a temperature or form that is not allowed.
    """
    if not teacher:
        raise ValueError(
            "The trick distillation needs a teacher: distillation:teacher=CARD, the card of a pretraining run "
            "(work_dirs/runs/KEY/card). To train the paper's, a ResNet-152-D: python tools/train.py "
            f"configs/classification/{_teacher_config(cfg)} --cfg-options model.backbone.depth=152 --tricks "
            "resnet_d large_batch low_precision zero_gamma no_bias_decay warmup cosine label_smoothing; for a student with mixup "
            "add mixup."
        )
    if not (temperature > 0 and isfinite(temperature)):
        raise ValueError(f"distillation:temperature is {temperature}; give a number above 0.")
    if form not in FORMS:
        raise ValueError(f"distillation:form is {form!r}; allowed: {', '.join(FORMS)}.")
    cfg.teacher = teacher
    cfg.model.distillation = dict(card=teacher, temperature=float(temperature), form=form)


def _teacher_config(cfg) -> str:
    """Return the name of a ResNet config for the student's data: the student's config if it is a ResNet, else ResNet-50's."""
    student = Path(getattr(cfg, "filename", None) or "").name
    return student if student.startswith("resnet") else f"resnet50_{cfg.scale}.py"
