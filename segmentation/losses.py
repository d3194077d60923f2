"""Compute the loss of a segmenter's head without copying the logits and without waiting for the GPU."""

import backbones.mmcv_ops  # noqa: F401  (without compiled mmcv, mmseg cannot be imported otherwise)

# isort: split
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate


def is_plain(head) -> bool:
    """Return True if the loss of an mmseg head is one unweighted cross entropy over pixels, as ``pixel_loss`` computes it."""
    loss = getattr(head, "loss_decode", None)
    if type(loss) is not CrossEntropyLoss or loss.use_sigmoid or loss.use_mask or loss.class_weight or loss.reduction != "mean":
        return False
    is_inherited = all(getattr(type(head), name) is getattr(BaseDecodeHead, name) for name in ("loss", "loss_by_feat"))
    return is_inherited and head.sampler is None


def pixel_loss(head, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the loss and pixel accuracy of a head that ``is_plain``, as mmseg's ``loss_by_feat`` does.

    Channels-last logits hold the classes of a pixel side by side, and the softmax is taken in that layout; mmseg copies the
    enlarged logits to another layout and back. The sums are taken in another order, so losses differ by rounding. The mask and
    the number of labelled pixels stay on the device; mmseg waits for both.

    Args:
        head: head with ``loss_decode``, ``ignore_index`` and ``align_corners``.
        logits: float (N, classes, h, w), resized bilinearly to the size of ``labels``.
        labels: int64 (N, H, W).

    Returns:
        ``head.loss_decode.loss_name``: the mean over all pixels (with ``avg_non_ignore`` over the labelled ones) times the weight
        of the loss; 0 if no pixel is labelled. ``acc_seg``: percent of the labelled pixels whose class has the largest logit
        (ties included).
    """
    loss = head.loss_decode
    logits = interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=head.align_corners)
    pixels, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    labelled = labels != head.ignore_index
    count = labelled.sum()
    total = cross_entropy(pixels, labels, ignore_index=head.ignore_index, reduction="sum")
    mean = total / (count.clamp(min=1) if loss.avg_non_ignore else len(labels))
    percent = accuracy(pixels.detach(), labels.where(labelled, 0), labelled, count)
    return {loss.loss_name: loss.loss_weight * mean, "acc_seg": percent}


def accuracy(pixels: Tensor, labels: Tensor, known: Tensor, count: Tensor) -> Tensor:
    """Return the percentage, float (1,), of ``known`` rows of ``pixels`` (pixels, classes) whose label has the largest logit."""
    right = pixels.gather(1, labels[:, None])[:, 0] >= pixels.amax(1)
    return 100 * (right & known).sum()[None] / count.clamp(min=1)
