"""Resolve the values of a classifier's config to the MMEngine config that trains it."""

from backbones.networks.architecture import arch_of, check_arch, network_name
from backbones.resolving import SAMPLER, Request, data_folder, milestones, start
from classification.dtypes import set_precision
from classification.tricks import compose

# values from which ``resolve`` derives others, and which nothing reads afterwards
CONSUMED = (
    *("seconds", "data_root", "num_workers", "test_batch", "val_folder", "mean", "std", "crop_scale", "warmup_epochs"),
    *("lr_at_256", "low_precision", "num_classes"),
)
RESAMPLER = "bilinear, antialiased (torchvision on PIL images), the same in training and validation"
STEPS = (30 / 120, 60 / 120, 90 / 120)  # fractions of the training at which the learning rate falls to a tenth (section 2.1)
NOT_HERE = {  # options of the dense tasks
    "backbone": "trains its own backbone",
    "transfer": "trains its own backbone",
    "protocol": "has no protocol",
    "lr_factor": "has no protocol; change lr_at_256 with --cfg-options",
    "hold_out": "is tested on its validation images",
}
# keys of a resolved config that are derived -> the value to change instead
FOLLOWS = {
    "train_cfg.max_epochs": "epochs",
    "train_dataloader.batch_size": "batch",
    "test_dataloader.batch_size": "test_batch",
    "optim_wrapper.accumulative_counts": "micro_batch",
    "optim_wrapper.dtype": "low_precision",
    "model.micro_batch": "micro_batch",
    "model.num_classes": "num_classes",
    "model.data_preprocessor.mean": "mean",
    "model.data_preprocessor.std": "std",
    "train_dataloader.sampler": "seed and batch, so that a run trains alike in one process and in several",
    "train_dataloader.drop_last": "batch, since an update takes a whole batch",
    "train_dataloader.dataset.root": "data_root",
    "test_dataloader.dataset.root": "data_root",
    "network": "model.backbone",
    "precision": "low_precision",
}


def resolve(values, request: Request):
    """Return the resolved config of a pretraining, before overrides of derived keys and ``complete``.

    Args:
        values: checked values of a config (an MMEngine Config); not modified.
        request: the tricks and other options.

    Raises:
        ValueError: an option of the dense tasks, a trick that cannot be applied, or a precision that this machine lacks.
    """
    for option, reason in NOT_HERE.items():
        if getattr(request, option):
            raise ValueError(f"--{option.replace('_', '-')} is for detection and segmentation; {values.task} {reason}.")
    if values.crop_scale[0] > values.crop_scale[1]:
        raise ValueError(f"crop_scale is {tuple(values.crop_scale)}; give the smaller part of an image first.")
    if values.get("teacher"):
        raise ValueError(f"teacher is {values.teacher!r} in the config; give --tricks distillation:teacher=CARD instead.")
    if arch := arch_of(values.model.backbone):
        check_arch(arch)
    cfg = compose(values, request.tricks, lambda edited: derive(edited, request))
    for key in CONSUMED:
        cfg.pop(key, None)
    return cfg


def derive(values, request: Request):
    """Derive pipelines, loaders, model, optimiser and schedule from ``values``."""
    cfg = start(values, request)
    cfg.network, cfg.resampler = network_name(cfg.model.backbone), RESAMPLER
    if cfg.model.get("mixup"):
        cfg.model.mixup.seed = request.seed
    cfg.micro_batch = cfg.model.micro_batch = min(values.micro_batch, values.batch)
    cfg.model.num_classes = values.num_classes
    cfg.model.data_preprocessor = dict(type="classification.ImagePreprocessor", mean=list(values.mean), std=list(values.std))
    # SyncBuffersHook averages the BN statistics of all processes before an evaluation
    hooks = (dict(type="classification.UpdateHook"), dict(type="SyncBuffersHook"))
    cfg.custom_hooks = [*hooks, *values.custom_hooks]
    _loaders(cfg, values)
    if request.machine.processes > 1:
        cfg.model_wrapper_cfg = dict(type="classification.ClassifierDDP", broadcast_buffers=False)
    cfg.optim_wrapper.optimizer.lr = values.lr_at_256 * values.batch / 256
    steps = dict(
        type="MultiStepLR", milestones=milestones(values.epochs, STEPS), gamma=0.1, by_epoch=True, convert_to_iter_based=True
    )
    cfg.param_scheduler = [steps]
    cfg.train_cfg, cfg.test_cfg = dict(by_epoch=True, max_epochs=values.epochs), dict()
    cfg.precision = set_precision(cfg.optim_wrapper, values.low_precision, request.machine)
    return cfg


def _loaders(cfg, values) -> None:
    """Set the train and test loaders with their pipelines, in place."""
    root, size = data_folder(values), values.size
    transforms = "torchvision.transforms.v2"
    train = [
        dict(
            type=f"{transforms}.RandomResizedCrop",
            size=size,
            scale=tuple(values.crop_scale),
            ratio=(3 / 4, 4 / 3),
            antialias=True,
        ),
        dict(type=f"{transforms}.RandomHorizontalFlip", p=0.5),
        dict(type="classification.ColorJitter", strength=0.4, form="bcs"),
        dict(type=f"{transforms}.PILToTensor"),
        dict(type="classification.PCANoise", std=0.1),
    ]
    test = [
        dict(type=f"{transforms}.Resize", size=-(-size * 8 // 7), antialias=True),  # ceil(size / 0.875)
        dict(type=f"{transforms}.CenterCrop", size=size),
        dict(type=f"{transforms}.PILToTensor"),
    ]
    common = dict(num_workers=values.num_workers, collate_fn=dict(type="default_collate"))
    cfg.train_dataloader = dict(
        persistent_workers=True,
        drop_last=True,
        sampler=dict(type=SAMPLER),
        dataset=dict(type="classification.ImageFolder", root=f"{root}/train", pipeline=train),
        **common,
    )
    cfg.test_dataloader = dict(
        batch_size=values.test_batch,
        drop_last=False,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="classification.ImageFolder", root=f"{root}/{values.val_folder}", pipeline=test),
        **common,
    )


def facts_of(cfg) -> dict:
    """Return the facts of the network that the card of this pretraining will state: arch, mean, std and channel order."""
    preprocessor = cfg.model.data_preprocessor
    facts = dict(mean=list(preprocessor.mean), std=list(preprocessor.std), channel_order="rgb")  # PIL's order
    return dict(arch=arch_of(cfg.model.backbone), **facts)
