"""Knowledge distillation from a card that has its classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.card import BackboneCard
from backbones.networks.factory import build


def soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 l(softmax(r / T), softmax(z / T)), the mean over the batch (the second term of equation 6 of the paper).

    Args:
        logits: z (N, K), of the student.
        teacher: r (N, K).
        temperature: T. The value is about T^2 ln K, 2760 for T = 20 and K = 1000: beyond what 16 bits resolve, so both are
            taken to float32 first (float64 stays).
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    return temperature**2 * F.cross_entropy(logits.to(wide) / temperature, F.softmax(teacher.to(wide) / temperature, dim=1))


class Distillation:
    """The loss l(p, softmax(z)) + T^2 l(softmax(r / T), softmax(z / T)) (equation 6), or half of it (GluonCV's form).

    The teacher stands in evaluation mode, gets no gradient, and sees the student's own batch, mixed where that is. It is no
    module of the student, so that neither checkpoint, optimiser nor card holds any of it.

    Args:
        card: folder of the teacher's card.
        temperature: T.
        form: 'paper', or 'gluoncv' for half of the sum.
        mean, std: of the student's preprocessor (RGB); a teacher that was trained with others gets its own.
        num_classes: K of the student.

    Raises:
        ValueError: no such card, one without classifier, or of another number of classes.
    """

    def __init__(self, card: str, temperature: float, form: str, mean: list[float], std: list[float], num_classes: int):
        self.temperature, self.weight = temperature, {"paper": 1.0, "gluoncv": 0.5}[form]
        self.teacher = Teacher(load_teacher(card, num_classes), mean, std)

    def __call__(self, inputs: Tensor, logits: Tensor, hard: Tensor) -> dict[str, Tensor]:
        """The two terms, which add up to the loss.

        Args:
            inputs: the student's (N, 3, H, W).
            logits: the student's (N, K).
            hard: l(p, softmax(z)).
        """
        with torch.no_grad():
            teacher = self.teacher.to(inputs.device)(inputs)
        soft = soft_cross_entropy(logits, teacher, self.temperature)
        return {"loss_hard": self.weight * hard, "loss_soft": self.weight * soft}


class Teacher(nn.Module):
    """The classifier of a card: logits (N, K) of a batch that was normalised by a student's ``mean`` and ``std`` (RGB)."""

    def __init__(self, card: BackboneCard, mean: list[float], std: list[float]):
        super().__init__()
        self.backbone = build(card.arch)
        card.place(self.backbone)
        self.fc = nn.Linear(*card.classifier["weight"].shape[::-1])
        self.fc.load_state_dict(card.classifier, strict=True)
        rgb = slice(None, None, 1 if card.channel_order == "rgb" else -1)
        own_mean, own_std = torch.tensor(card.mean[rgb]), torch.tensor(card.std[rgb])
        scale = torch.tensor(std) / own_std
        self.flip = card.channel_order == "bgr"
        self.same = list(card.mean[rgb]) == list(mean) and list(card.std[rgb]) == list(std)
        self.register_buffer("scale", scale.view(3, 1, 1))
        self.register_buffer("shift", ((torch.tensor(mean) - own_mean) / own_std).view(3, 1, 1))
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.same:
            inputs = inputs * self.scale + self.shift
        if self.flip:
            inputs = inputs.flip(1)
        return self.fc(self.backbone(inputs)[-1].mean(dim=(2, 3)))


def load_teacher(path: str, num_classes: int, class_names: list[str] | None = None) -> BackboneCard:
    """The card of a teacher for ``num_classes`` classes, in the order of ``class_names`` where both name theirs.

    Raises:
        ValueError: no such card, one without its classifier, or one trained on other classes.
    """
    card = BackboneCard.load(path)
    if not card.classifier:
        raise ValueError(
            f"The card {card.path} has no classifier, and a teacher needs one; write it anew from its run or source."
        )
    if (theirs := len(card.classifier["weight"])) != num_classes:
        raise ValueError(f"The teacher {card.path} tells {theirs} classes apart and the student {num_classes}; take another.")
    names = card.source.get("class_names")
    if names and class_names and names != class_names:
        odd = sorted(set(names) ^ set(class_names))[:5] or ["the same names in another order"]
        raise ValueError(f"The teacher {card.path} was trained on other classes than the student has: {', '.join(odd)}.")
    return card
