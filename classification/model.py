"""Build and train the classifier: a backbone, global average pooling and one fully connected layer."""

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel, MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.networks.initialization import initialise
from backbones.randomness import seed_of
from classification.micro_batches import train_on_micro_batches


class ImagePreprocessor(BaseDataPreprocessor):
    """Move a uint8 batch to the device and normalise it there: (x - mean) / std, per channel.

    Args:
        mean, std: mean and standard deviation of R, G, B on the 0..255 scale.

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
        """Normalise uint8 (N, 3, H, W) images to float32 (N, 3, H, W)."""
        images = images.to(memory_format=torch.channels_last).float()
        return (images - self.mean) / self.std


class ImageClassifier(BaseModel):
    """Classify images: logits = W dropout(GAP(last stage)) + b.

    ``forward`` returns in mode 'loss' ``{'loss': scalar}``, or ``loss_hard`` and ``loss_soft`` with distillation; in 'predict' a
    list of ``{'scores': float32 (K,), 'label': int}``; in 'tensor' the logits (N, K). One ``train_step`` is one update.

    The arguments are the keys of a config's ``model``, which is why there are more than five.

    Args:
        backbone: config of a network that returns a tuple of stages and has ``channels``.
        num_classes: K.
        loss: config of a criterion of (logits (N, K), labels (N,) or targets (N, K)).
        data_preprocessor: config of the preprocessor.
        micro_batch: number of images in a forward pass, over which BN takes its statistics. The gradients of the micro-batches
            of a batch are accumulated. None: the whole batch.
        init: initial values of convolutions and of W: 'xavier' (section 2.1 of the paper) or 'msra_prelu' (its code).
        dropout: fraction of the pooled features that is set to 0 in training.
        mixup: arguments of ``Mixup``, or None.
        distillation: arguments of ``Distillation`` except those that describe the student, or None.
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
        self.update_seed: int | None = None  # of the random draws of an update; ``UpdateHook`` sets it
        self.mixup = _build_mixup(mixup) if mixup else None
        self.distillation = _build_distillation(distillation, data_preprocessor, num_classes) if distillation else None

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
        if self.mixup:  # the loss smooths afterwards; smoothing and mixing are linear, so their order does not matter
            inputs, targets = self.mixup(inputs, F.one_hot(targets, self.fc.out_features).to(inputs.dtype))
        logits = self._logits(inputs)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        hard = self.loss(logits, targets)
        return self.distillation(inputs, logits, hard) if self.distillation else {"loss": hard}

    def train_step(self, data: dict, optim_wrapper) -> dict[str, Tensor]:
        step = super().train_step
        return train_on_micro_batches(lambda part: step(part, optim_wrapper), self, data)


def _build_mixup(options: dict) -> nn.Module:
    from classification.mixup import Mixup  # here, since only runs with the trick need it

    return Mixup(**options)


def _build_distillation(options: dict, data_preprocessor: dict, num_classes: int):
    from classification.distillation import Distillation  # here, since only runs with the trick need it

    mean, std = list(data_preprocessor["mean"]), list(data_preprocessor["std"])
    return Distillation(**options, mean=mean, std=std, num_classes=num_classes)


class ClassifierDDP(MMDistributedDataParallel):
    """Train an ``ImageClassifier`` in several processes; exchange gradients once per update, after its last micro-batch."""

    def train_step(self, data: dict, optim_wrapper) -> dict[str, Tensor]:
        step = super().train_step
        return train_on_micro_batches(lambda part: step(part, optim_wrapper), self.module, data)


class UpdateHook(Hook):
    """Synchronise the wrapper's gradient accumulation and the random draws of the model with the updates.

    An iteration of the runner is one update of several micro-batches. Without the hook, MMEngine's wrapper would take the number
    of iterations for the number of micro-batches.
    """

    def before_train(self, runner) -> None:
        runner.optim_wrapper.initialize_count_status(runner.model, 0, -1)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(model, ImageClassifier):  # models of other tasks may use this hook, too
            return
        model.update_seed = seed_of(runner.seed, "update", runner.iter)
        if model.mixup:
            model.mixup.draw(runner.iter)
