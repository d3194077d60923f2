"""Run mmseg's segmenter with a loss that does not wait for the GPU, and inference that never holds all logits at full size."""

import backbones.mmcv_ops  # noqa: F401  (without compiled mmcv, mmseg cannot be imported otherwise)

# isort: split
import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor
from torch.nn.functional import interpolate

from segmentation.losses import is_plain, pixel_loss

CHUNK = 16  # classes are resized in multiples of this, since torch rounds full vectors differently from remainders
MOST = 80  # most classes resized at once, a multiple of CHUNK; fewer take less memory, but more time per class


class FCN(EncoderDecoder):
    """Predict the same masks as mmseg's EncoderDecoder, faster and in bounded memory.

    In mode 'whole', mmseg resizes the logits of all classes to the input's size, cuts the padding off, resizes them to the
    original size, and takes the largest. Each class is resized independently, so this class resizes a few classes at a time and
    stores the largest logit so far; classes that win nowhere (see ``contenders``) are skipped. The masks equal mmseg's in every
    pixel, since each map is resized by the same kernel in the same layout. Samples get ``pred_sem_seg`` int64 (1, H, W), and no
    logits.

    In mode 'whole', ``test_cfg`` may have ``scales`` and ``flip``: then the class with the largest mean probability over the
    scaled inputs, each with its mirror image, wins. Mode 'slide' is mmseg's own.
    """

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Return the terms of the loss and the pixel accuracy of each head by mmseg's names; ``inputs`` is float (N, 3, H, W).

        See ``segmentation.losses``. If a head has another loss than plain cross entropy, mmseg's own code runs.
        """
        heads = {"decode": self.decode_head}
        if self.with_auxiliary_head:
            heads["aux"] = self.auxiliary_head
        if not all(map(is_plain, heads.values())):
            return super().loss(inputs, data_samples)
        stages, terms = self.extract_feat(inputs), {}
        labels = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
        for name, head in heads.items():
            terms |= add_prefix(pixel_loss(head, head(stages), labels), name)
        return terms

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Predict a mask for each sample, and store it there; ``inputs`` is float (N, 3, H, W)."""
        if data_samples is None or self.test_cfg.get("mode", "whole") != "whole" or self.out_channels == 1:
            return super().predict(inputs, data_samples)
        score = self._mean_probability if "scales" in self.test_cfg else self._logits
        scores = score(inputs, data_samples)
        for i, sample in enumerate(data_samples):
            sample.set_data({"pred_sem_seg": PixelData(data=self._mask(scores[i : i + 1], inputs.shape[2:], sample)[None])})
        return data_samples

    def _logits(self, inputs: Tensor, data_samples: list[SegDataSample]) -> Tensor:
        return self.decode_head(self.extract_feat(inputs))

    def _mean_probability(self, inputs: Tensor, data_samples: list[SegDataSample]) -> Tensor:
        """Return the mean probability over scales and flips, (N, classes, H, W) at the input's size."""
        total, passes = 0.0, 0
        for scale in self.test_cfg["scales"]:
            scaled = self._resize(inputs, [max(1, round(side * scale)) for side in inputs.shape[2:]])
            for flip in (False, True) if self.test_cfg.get("flip") else (False,):
                logits = self._logits(scaled.flip(3) if flip else scaled, data_samples)
                logits = self._resize(logits.flip(3) if flip else logits, inputs.shape[2:])
                total, passes = total + logits.softmax(1), passes + 1
        return total / passes

    def _mask(self, scores: Tensor, size: torch.Size, sample: SegDataSample) -> Tensor:
        """Return an image's mask at its original size, int64 (H, W), from scores (1, classes, h, w) of an input of ``size``."""
        is_channels_last = scores.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_channels_last else torch.contiguous_format
        number = scores.shape[1]
        is_enlarged = all(a <= b for a, b in zip(scores.shape[2:], size, strict=True))
        candidates = contenders(scores) if is_enlarged else torch.arange(number, device=scores.device)
        best = label = None
        for classes in parts(number, candidates):
            maps = self._resize(scores[:, classes].contiguous(memory_format=layout), size)
            value, index = self._original(maps, sample.metainfo).max(0)
            index = classes[index]
            if best is not None:
                higher = value > best  # not >=: of equal scores the first class wins, as with argmax
                value, index = torch.where(higher, value, best), torch.where(higher, index, label)
            best, label = value, index
        return label

    def _original(self, maps: Tensor, meta: dict) -> Tensor:
        """Resize maps (1, classes, h, w) from the input's size to the original size, as mmseg's postprocess_result does."""
        left, right, top, bottom = meta.get("img_padding_size", meta.get("padding_size", [0] * 4))
        maps = maps[:, :, top : maps.shape[2] - bottom, left : maps.shape[3] - right]
        if meta.get("flip"):
            maps = maps.flip(3 if meta["flip_direction"] == "horizontal" else 2)
        return self._resize(maps, meta["ori_shape"])[0]

    def _resize(self, x: Tensor, size) -> Tensor:
        if tuple(x.shape[2:]) == tuple(size):
            return x
        return interpolate(x, tuple(size), mode="bilinear", align_corners=self.align_corners)


def contenders(scores: Tensor) -> Tensor:
    """Return the classes that can win a pixel of an enlarged map, int64 (n,), ascending.

    A pixel of the input is a mean of 2 x 2 neighbouring scores, and neighbouring pixels of the input span at most 3 x 3 scores.
    So a class wins nowhere if, in each 3 x 3 window, its largest score is below the smallest score of some other class.

    Args:
        scores: float (1, classes, h, w), which will be resized to at least h x w, and then to any size.
    """
    low = high = scores.contiguous()
    for axis in (2, 3):
        window = min(3, scores.shape[axis])
        count = scores.shape[axis] - window + 1
        low = torch.stack([low.narrow(axis, i, count) for i in range(window)]).amin(0)
        high = torch.stack([high.narrow(axis, i, count) for i in range(window)]).amax(0)
    slack = 16 * torch.finfo(scores.dtype).eps * scores.abs().max()  # for the rounding in two resizes
    beaten = high < low.amax(1, keepdim=True) - slack
    return (~beaten).flatten(2).any(2)[0].nonzero()[:, 0]


def parts(number: int, chosen: Tensor) -> list[Tensor]:
    """Split the ``chosen`` classes into ascending parts of at most MOST classes, each a multiple of CHUNK.

    The remainder of ``number`` after full chunks forms the last part: torch does not resize these maps in full vectors.
    """
    end = number // CHUNK * CHUNK
    if 0 < number - end < 4:  # torch uses yet another kernel for so few classes
        end = max(0, end - CHUNK)
    body = chosen[chosen < end]
    body = torch.cat([body, body[-1:].repeat(-len(body) % CHUNK)])  # repeating a class does not change the mask
    classes = [part for part in body.split(MOST) if len(part)]
    if (chosen >= end).any():
        classes.append(torch.arange(end, number, device=chosen.device))
    return classes
