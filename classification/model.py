"""The classifier: a backbone, global average pooling and one fully connected layer."""

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel, MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.networks.initialization import initialise


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


def micro_batches(data: dict, size: int | None) -> list[dict]:
    """``data`` (tensors of N rows) in parts of ``size`` rows; as one part where ``size`` is None.

    Raises:
        ValueError: N is no multiple of ``size``.
    """
    count = len(data["labels"])
    if size is None or size == count:
        return [data]
    if count % size:
        raise ValueError(f"A batch of {count} images cannot be divided into parts of {size} (micro_batch).")
    parts = {key: value.split(size) for key, value in data.items()}
    return [{key: value[i] for key, value in parts.items()} for i in range(count // size)]


def mean_of(logs: list[dict]) -> dict:
    """The mean of each entry over the micro-batches."""
    return {key: sum(log[key] for log in logs) / len(logs) for key in logs[0]}


class ImageClassifier(BaseModel):
    """logits = W dropout(GAP(last stage)) + b.

    Args:
        backbone: config of a network that returns a tuple of stages and has ``channels``.
        num_classes: K.
        loss: config of a criterion of (logits (N, K), labels (N,) or targets (N, K)).
        data_preprocessor: config.
        micro_batch: images in a forward pass, over which BN takes its statistics; a batch is several of them, whose gradients
            are accumulated. None: the whole batch.
        init: initial values of convolutions and of W: 'xavier' (section 2.1 of the paper) or 'msra_prelu' (its code).
        dropout: part of the pooled features set to 0 while training.
        mixup: arguments of ``Mixup``, or None.
        distillation: arguments of ``Distillation`` but for what the student is, or None.

    In mode 'loss' returns ``{'loss': scalar}``, or ``loss_hard`` and ``loss_soft`` with distillation; in 'predict' a list of
    ``{'scores': float32 (K,), 'label': int}``; in 'tensor' the logits (N, K). One ``train_step`` is one update.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        loss: dict,
        data_preprocessor: dict,
        micro_batch: int | None = None,
        init: str = "xavier",
        dropout: float = 0.0,
        mixup: dict | None = None,
        distillation: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.backbone.channels[-1], num_classes)
        initialise(self, init)
        self.loss, self.micro_batch = MODELS.build(loss), micro_batch
        self.mixup = self.distillation = None
        if mixup:
            from classification.mixup import Mixup

            self.mixup = Mixup(**mixup)
        if distillation:
            from classification.distillation import Distillation

            own = dict(mean=list(data_preprocessor["mean"]), std=list(data_preprocessor["std"]), num_classes=num_classes)
            self.distillation = Distillation(**distillation, **own)

    def forward(self, inputs: Tensor, labels: Tensor | None = None, mode: str = "tensor"):
        if mode == "loss":
            return self._losses(inputs, labels)
        logits = self._logits(inputs)
        if mode == "predict":
            pairs = zip(logits.float().cpu(), labels.cpu().tolist(), strict=True)
            return [{"scores": scores, "label": label} for scores, label in pairs]
        return logits

    def _logits(self, inputs: Tensor) -> Tensor:
        return self.fc(self.dropout(self.backbone(inputs)[-1].mean(dim=(2, 3))))

    def _losses(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if self.mixup:  # smoothing, which the loss does, and mixing are linear: their order does not matter
            inputs, targets = self.mixup(inputs, F.one_hot(targets, self.fc.out_features).to(inputs.dtype))
        logits = self._logits(inputs)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        hard = self.loss(logits, targets)
        return self.distillation(inputs, logits, hard) if self.distillation else {"loss": hard}

    def train_step(self, data: dict, optim_wrapper) -> dict[str, Tensor]:
        logs = []
        for part in micro_batches(data, self.micro_batch):
            logs.append(super().train_step(part, optim_wrapper))
        return mean_of(logs)


class ClassifierDDP(MMDistributedDataParallel):
    """``ImageClassifier`` over several processes: gradients are exchanged once an update, after its last micro-batch."""

    def train_step(self, data: dict, optim_wrapper) -> dict[str, Tensor]:
        logs = []
        for part in micro_batches(data, self.module.micro_batch):
            logs.append(super().train_step(part, optim_wrapper))
        return mean_of(logs)


class UpdateHook(Hook):
    """Keeps what is counted in updates in step with them: the wrapper's accumulation and mixup's lambda.

    An iteration of the runner is one update of several micro-batches, and MMEngine's wrapper would else take the number of
    iterations for that of micro-batches.
    """

    def before_train(self, runner) -> None:
        runner.optim_wrapper.initialize_count_status(runner.model, 0, -1)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if getattr(model, "mixup", None):  # a model of another task may train with this hook
            model.mixup.draw(runner.iter)
