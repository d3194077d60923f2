"""Distil knowledge from the classifier of a card."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.card import BackboneCard
from classification.card_classifier import CardClassifier


def soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 l(softmax(r / T), softmax(z / T)), the mean over the batch (second term of equation 6 of the paper).

    Args:
        logits: the student's logits z (N, K).
        teacher: the teacher's logits r (N, K).
        temperature: T.
    """
    # The loss is about T^2 ln K, 2760 for T = 20 and K = 1000, which 16 bits cannot resolve. float64 stays float64.
    wide = torch.promote_types(logits.dtype, torch.float32)
    return temperature**2 * F.cross_entropy(logits.to(wide) / temperature, F.softmax(teacher.to(wide) / temperature, dim=1))


class Distillation:
    """Compute the loss l(p, softmax(z)) + T^2 l(softmax(r / T), softmax(z / T)) (equation 6), or half of it (GluonCV's form).

    The teacher is in evaluation mode, gets no gradient, and gets the same (perhaps mixed) batch as the student. It is not a
    submodule of the student, so it is not in the student's checkpoint, optimiser or card. The first three arguments are keys of
    the config; the others describe the student.

    Args:
        card: folder of the teacher's card.
        temperature: T.
        form: 'paper', or 'gluoncv' for half of the sum.
        mean, std: those of the student's preprocessor (RGB). Inputs are renormalised if the teacher was trained with others.
        num_classes: K of the student.

    Raises:
        ValueError: no such card, a card without a classifier, or one with another number of classes.
    """

    def __init__(self, card: str, temperature: float, form: str, mean: list[float], std: list[float], num_classes: int):
        self.temperature, self.weight = temperature, {"paper": 1.0, "gluoncv": 0.5}[form]
        self.teacher = Teacher(load_teacher(card, num_classes), mean, std)

    def __call__(self, inputs: Tensor, logits: Tensor, hard: Tensor) -> dict[str, Tensor]:
        """Return the two terms that add up to the loss.

        Args:
            inputs: the student's inputs (N, 3, H, W).
            logits: the student's logits (N, K).
            hard: the student's own loss l(p, softmax(z)).
        """
        with torch.no_grad():
            teacher = self.teacher.to(inputs.device)(inputs)
        soft = soft_cross_entropy(logits, teacher, self.temperature)
        return {"loss_hard": self.weight * hard, "loss_soft": self.weight * soft}


class Teacher(nn.Module):
    """Run the classifier of a card: logits (N, K) of a batch that was normalised by a student's ``mean`` and ``std`` (RGB)."""

    def __init__(self, card: BackboneCard, mean: list[float], std: list[float]):
        super().__init__()
        self.classifier = CardClassifier(card)
        rgb = slice(None, None, 1 if card.channel_order == "rgb" else -1)
        card_mean, card_std = torch.tensor(card.mean[rgb]), torch.tensor(card.std[rgb])
        scale = torch.tensor(std) / card_std
        self.flip = card.channel_order == "bgr"
        self.same = list(card.mean[rgb]) == list(mean) and list(card.std[rgb]) == list(std)
        self.register_buffer("scale", scale.view(3, 1, 1))
        self.register_buffer("shift", ((torch.tensor(mean) - card_mean) / card_std).view(3, 1, 1))
        self.eval().to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.same:
            inputs = inputs * self.scale + self.shift
        if self.flip:
            inputs = inputs.flip(1)
        return self.classifier(inputs)


def load_teacher(path: str, num_classes: int, class_names: list[str] | None = None) -> BackboneCard:
    """Load the card of a teacher for ``num_classes`` classes, in the order of ``class_names`` if both name their classes.

    Raises:
        ValueError: no such card, a card without a classifier, or one trained on other classes.
    """
    card = BackboneCard.load(path)
    if not card.classifier:
        raise ValueError(
            f"The card {card.path} has no classifier, and a teacher needs one; choose the card of a pretraining, or of weights "
            "that have theirs."
        )
    if (teacher_classes := len(card.classifier["weight"])) != num_classes:
        raise ValueError(
            f"The teacher {card.path} has {teacher_classes} classes and the student {num_classes}; choose another teacher."
        )
    names = card.source.get("class_names")
    if names and class_names and names != class_names:
        differences = sorted(set(names) ^ set(class_names))[:5] or ["the same names in another order"]
        raise ValueError(
            f"The teacher {card.path} was trained on other classes than the student has: {', '.join(differences)}. "
            "Choose another teacher."
        )
    return card
