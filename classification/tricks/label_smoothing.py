"""Declare label smoothing (section 5.2 of the paper)."""

from classification.tricks.declare import Gain, trick


@trick(
    sets=("model.loss.label_smoothing",),
    gain=Gain("table6", ("+ label smoothing", "ResNet-50-D_top1"), ("+ cosine decay", "ResNet-50-D_top1")),
)
def label_smoothing(cfg, eps: float = 0.1, form: str = "paper") -> None:
    """Smooth the targets q of the cross entropy over the K classes (equation 4).

    Why: with targets of 0 and 1 the loss only falls as the gap between logits grows without bound, which overfits. Smoothed
    targets are reached at a finite gap.

    ``form='paper'``: q = 1 - eps for the true class and eps / (K - 1) for the others. ``form='uniform'`` (GluonCV, torch, timm):
    q = 1 - eps + eps / K and eps / K. torch's ``label_smoothing`` is the uniform form; the paper's form equals the uniform form
    with eps K / (K - 1).

    Args:
        eps: in (0, 1); in (0, (K - 1) / K] for the paper's form.
        form: 'paper' or 'uniform'.

    Raises:
        ValueError: an eps or form that is not allowed.
    """
    classes = cfg.num_classes
    if form not in ("paper", "uniform"):
        raise ValueError(f"label_smoothing:form is {form!r}; allowed: paper, uniform.")
    smoothing = eps * classes / (classes - 1) if form == "paper" else eps
    if not 0 < smoothing <= 1:
        raise ValueError(f"label_smoothing:eps is {eps}; give a number above 0, and with {classes} classes below 1.")
    cfg.model.loss.label_smoothing = smoothing
