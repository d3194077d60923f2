"""mmseg's segmenter with an inference that never holds the logits of all classes at full size."""

import backbones.mmcv_ops  # noqa: F401  (mmseg cannot be imported without it where mmcv is not compiled)

# isort: split
import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn.functional import interpolate

CHUNK = 8  # classes that are resized at once


class FCN(EncoderDecoder):
    """mmseg's EncoderDecoder with the same masks, in bounded memory and faster.

    In mode 'whole' mmseg resizes the logits of all classes to the input's size, cuts the padding off, resizes them to the
    original size, and takes the largest. Resizing knows no other class, so here a few classes at a time are resized and the
    largest so far is kept. (Torch's resize rounds the last bit as its threads divide the work; where two classes are that close,
    either may win, there as here.) The samples get ``pred_sem_seg`` int64 (1, H, W), and no logits.

    ``test_cfg`` may have ``scales`` and ``flip`` in mode 'whole': then the mean probability over the scaled inputs, each with
    its mirror image, decides. Mode 'slide' is mmseg's own.
    """

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Puts a mask into each sample; ``inputs`` is float (N, 3, H, W)."""
        if data_samples is None or self.test_cfg.get("mode", "whole") != "whole":
            return super().predict(inputs, data_samples)
        score = self._mean_probability if "scales" in self.test_cfg else self._logits
        scores = score(inputs, data_samples)
        for i, sample in enumerate(data_samples):
            sample.set_data({"pred_sem_seg": PixelData(data=self._mask(scores[i : i + 1], inputs.shape[2:], sample)[None])})
        return data_samples

    def _logits(self, inputs: Tensor, data_samples: list[SegDataSample]) -> Tensor:
        return self.decode_head(self.extract_feat(inputs)).contiguous()

    def _mean_probability(self, inputs: Tensor, data_samples: list[SegDataSample]) -> Tensor:
        """(N, classes, H, W) at the input's size."""
        total, passes = 0.0, 0
        for scale in self.test_cfg["scales"]:
            scaled = self._resize(inputs, [max(1, round(side * scale)) for side in inputs.shape[2:]])
            for flip in (False, True) if self.test_cfg.get("flip") else (False,):
                logits = self._logits(scaled.flip(3) if flip else scaled, data_samples)
                logits = self._resize(logits.flip(3) if flip else logits, inputs.shape[2:])
                total, passes = total + logits.softmax(1), passes + 1
        return total / passes

    def _mask(self, scores: Tensor, size: torch.Size, sample: SegDataSample) -> Tensor:
        """int64 (H, W) at the original size of one image, from scores (1, classes, h, w) of an input of ``size``."""
        meta = sample.metainfo
        left, right, top, bottom = meta.get("img_padding_size", meta.get("padding_size", [0] * 4))
        best = label = None
        for start in range(0, scores.shape[1], CHUNK):
            part = self._resize(scores[:, start : start + CHUNK], size)
            part = part[:, :, top : size[0] - bottom, left : size[1] - right]
            if meta.get("flip"):
                part = part.flip(3 if meta["flip_direction"] == "horizontal" else 2)
            value, index = self._resize(part, meta["ori_shape"])[0].max(0)
            if best is None:
                best, label = value, index
                continue
            higher = value > best  # not >=: of equal ones the first class, as argmax has it
            best = torch.where(higher, value, best)
            label = torch.where(higher, index + start, label)
        return label

    def _resize(self, x: Tensor, size) -> Tensor:
        if tuple(x.shape[2:]) == tuple(size):
            return x
        return interpolate(x, tuple(size), mode="bilinear", align_corners=self.align_corners)
