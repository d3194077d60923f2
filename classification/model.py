"""The classifier: a backbone, global average pooling and one fully connected layer."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn


class ImagePreprocessor(BaseDataPreprocessor):
    """Moves a uint8 batch to the device and normalises it there: (x - mean) / std, per channel.

    Args:
        mean, std: of R, G, B on the 0..255 scale.

    ``forward`` takes ``{'inputs': uint8 (N, 3, H, W) RGB, 'labels': int64 (N,)}`` and returns it with float32 inputs in
    channels-last memory.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__(non_blocking=True)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        data = self.cast_data(data)
        return data | {"inputs": self.normalise(data["inputs"])}

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) to float32 (N, 3, H, W)."""
        images = images.to(memory_format=torch.channels_last).float()
        return (images - self.mean) / self.std


class ImageClassifier(BaseModel):
    """logits = W GAP(last stage) + b.

    Args:
        backbone: config of a network that returns a tuple of stages and has ``channels``.
        num_classes: K.
        loss: config of a criterion of (logits (N, K), labels (N,)).
        data_preprocessor: config.

    In mode 'loss' returns ``{'loss': scalar}``; in 'predict' a list of ``{'scores': float32 (K,), 'label': int}``; in
    'tensor' the logits (N, K).
    """

    def __init__(self, backbone: dict, num_classes: int, loss: dict, data_preprocessor: dict):
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.fc = nn.Linear(self.backbone.channels[-1], num_classes)
        nn.init.xavier_uniform_(self.fc.weight)  # section 2.1: Xavier weights, zero biases
        nn.init.zeros_(self.fc.bias)
        self.loss = MODELS.build(loss)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = "tensor"):
        logits = self.fc(self.backbone(inputs)[-1].mean(dim=(2, 3)))
        if mode == "loss":
            return {"loss": self.loss(logits.float(), labels)}
        if mode == "predict":
            pairs = zip(logits.float().cpu(), labels.cpu().tolist(), strict=True)
            return [{"scores": scores, "label": label} for scores, label in pairs]
        return logits
