"""The loss of a segmenter's head, without a copy of the logits and without waiting for a GPU."""

import backbones.mmcv_ops  # noqa: F401  (mmseg cannot be imported without it where mmcv is not compiled)

# isort: split
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate


def is_plain(head) -> bool:
    """Whether the loss of a head of mmseg is one cross entropy over pixels, without weights, which ``pixel_loss`` has, too."""
    loss = getattr(head, "loss_decode", None)
    if type(loss) is not CrossEntropyLoss or loss.use_sigmoid or loss.use_mask or loss.class_weight or loss.reduction != "mean":
        return False
    mmsegs = all(getattr(type(head), name) is getattr(BaseDecodeHead, name) for name in ("loss", "loss_by_feat"))
    return mmsegs and head.sampler is None


def pixel_loss(head, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The loss and the pixel accuracy of a head for which ``is_plain`` holds, as mmseg's ``loss_by_feat`` has them.

    The classes of a pixel lie side by side in channels-last logits, and the softmax is taken there; mmseg's copies the enlarged
    logits to another layout and back. The sums have another order: losses differ by rounding. How many pixels are labelled
    stays on the device, and so does which: mmseg waits for both.

    Args:
        head: with ``loss_decode``, ``ignore_index`` and ``align_corners``.
        logits: float (N, classes, h, w), resized bilinearly to the size of ``labels``.
        labels: int64 (N, H, W).

    Returns:
        ``head.loss_decode.loss_name``: the mean over pixels, over the labelled ones with ``avg_non_ignore``, times the loss's
        weight; 0 where there are none. ``acc_seg``: percent of the labelled pixels whose class has no logit above its own.
    """
    loss = head.loss_decode
    logits = interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=head.align_corners)
    pixels, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    known = labels != head.ignore_index
    count = known.sum()
    total = cross_entropy(pixels, labels, ignore_index=head.ignore_index, reduction="sum")
    mean = total / (count.clamp(min=1) if loss.avg_non_ignore else len(labels))
    return {loss.loss_name: loss.loss_weight * mean, "acc_seg": accuracy(pixels.detach(), labels.where(known, 0), known, count)}


def accuracy(pixels: Tensor, labels: Tensor, known: Tensor, count: Tensor) -> Tensor:
    """Percent of the ``known`` rows of ``pixels`` (pixels, classes) in which no class is above that of ``labels``; float (1,)."""
    right = pixels.gather(1, labels[:, None])[:, 0] >= pixels.amax(1)
    return 100 * (right & known).sum()[None] / count.clamp(min=1)
