"""Define the request that every task's ``resolve`` gets, and derive the settings of loaders, evaluation and processes."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.card_facts import CardFacts
from backbones.common.fact_cache import machine
from backbones.common.project import SCRATCH, data_root
from backbones.common.schema import join

MODES = ("finetune", "frozen")
TRANSFER_HOOK = "backbones.TransferHook"
SAMPLER = "backbones.ShuffleSampler"


@dataclass(frozen=True)
class Machine:
    """Hold the facts of a machine that decide a resolved config.

    Args:
        threads: number of CPU threads of torch.
        cuda: whether runs train on a GPU.
        bf16: whether the CPU computes in bfloat16.
        processes: number of processes that share a batch.
    """

    threads: int
    cuda: bool
    bf16: bool
    processes: int = 1

    @classmethod
    def here(cls, processes: int = 1) -> "Machine":
        """Return the facts of this machine."""
        return cls(**machine(), processes=processes)


@dataclass(frozen=True)
class Request:
    """Hold what a user asks of a config beside its values.

    Args:
        machine: on which the config runs.
        seed: of initial values, data order and augmentation; a placeholder in a study's plan.
        tricks: names, or pairs of a name and its options, of a pretraining.
        card: facts of the card of a transfer, or of the one whose network trains from scratch; None for the config's own network.
        backbone: path of the card as the user gave it, 'scratch' or 'scratch:CARD'; None if nothing was given.
        transfer: 'finetune', 'frozen', or None for the default.
        protocol: name of the protocol, or None for the config's own.
        protocol_changes: values of the protocol, by dotted key.
        lr_factor: factor on the protocol's learning rate.
        hold_out: test on a part of the training data.
        skip_bad_images: replace a training image that cannot be read by the next one.
    """

    machine: Machine
    seed: int | str = 0
    tricks: Sequence = ()
    card: CardFacts | None = None
    backbone: str | None = None
    transfer: str | None = None
    protocol: str | None = None
    protocol_changes: Mapping[str, Any] = field(default_factory=dict)
    lr_factor: float | None = None
    hold_out: bool = False
    skip_bad_images: bool = False


def start(values, request: Request):
    """Return the config that a task's ``resolve`` completes: a copy of the values without those that are None."""
    cfg = copy.deepcopy(values)
    for key in [key for key, value in cfg.items() if value is None]:
        cfg.pop(key)
    cfg.randomness = dict(seed=request.seed)
    if request.skip_bad_images:
        cfg.on_bad_image = "skip"
    if cfg.get("compile") is False:
        cfg.pop("compile")
    return cfg


def data_folder(values) -> str:
    """Return the folder of a config's data: ``data_root``, relative to DATA_ROOT unless it is absolute."""
    return os.path.join(data_root(), Path(values.data_root).as_posix())


def check_backbone(task: str, request: Request) -> None:
    """Refuse tricks, a missing backbone, an unknown mode, and a frozen backbone with random weights.

    Raises:
        ValueError: for any of these.
    """
    if request.tricks:
        raise ValueError(f"--tricks belong to pretraining; {task} takes a card of a backbone trained with them.")
    if not request.backbone:
        raise ValueError(
            f"{task} needs --backbone: the folder of a card (work_dirs/runs/KEY/card), or scratch for random weights. "
            "There is no default, since random weights by omission look like a result."
        )
    if request.transfer not in (None, *MODES):
        raise ValueError(f"--transfer is {request.transfer!r}; allowed: {', '.join(MODES)}.")
    random = request.card.random if request.card else request.backbone == SCRATCH
    if random and request.transfer == "frozen":
        raise ValueError("--backbone scratch with --transfer frozen would never train the backbone; leave one out.")


def refuse_frozen_scratch(cfg) -> None:
    """Raise ValueError if a backbone with random weights would not train as a whole."""
    backbone = cfg.model.backbone
    if cfg.get("backbone") == SCRATCH and (backbone.frozen_stages != -1 or backbone.norm_eval or backbone.get("norm_frozen")):
        raise ValueError(
            "--backbone scratch trains all of the backbone; leave out what freezes it: model.backbone.frozen_stages, "
            "norm_eval or norm_frozen."
        )


def complete(cfg, machine: Machine):
    """Derive, in place, the settings that follow from the number of processes and the device. This is the last resolving step.

    Loaders without worker processes keep none alive. A batch is divided among the processes. Evaluations during training use
    the loader and the metric of the test. On GPUs SGD is fused, one kernel that also does a gradient scaler's work; on CPUs the
    fused kernel would round differently.

    Raises:
        ValueError: see ``divide``; a backbone with random weights is frozen.
    """
    refuse_frozen_scratch(cfg)
    train = cfg.train_dataloader
    train.batch_size, cfg.optim_wrapper.accumulative_counts = divide(cfg, machine.processes)
    if train.sampler.type == SAMPLER:
        train.sampler.update(batch=cfg.batch, drop_last=train.get("drop_last", False))
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        if not loader.num_workers:
            loader.persistent_workers = False
    if machine.cuda and cfg.optim_wrapper.optimizer.type == "SGD":
        cfg.optim_wrapper.optimizer.setdefault("fused", True)
    if cfg.optim_wrapper.type == "AmpOptimWrapper" and not machine.cuda:
        raise ValueError("optim_wrapper.type=AmpOptimWrapper needs a GPU; on a CPU the trick low_precision trains in bfloat16.")
    if cfg.val_interval:
        cfg.train_cfg.val_interval = cfg.val_interval
        cfg.val_dataloader, cfg.val_cfg, cfg.val_evaluator = cfg.test_dataloader, dict(), cfg.test_evaluator
    if machine.processes > 1:
        if not any(hook["type"] == "SyncBuffersHook" for hook in cfg.custom_hooks):
            cfg.custom_hooks.append(dict(type="SyncBuffersHook"))  # else each process would test with its own BN statistics
        if not machine.cuda:
            wrapper = cfg.get("model_wrapper_cfg") or dict(type="MMDistributedDataParallel", broadcast_buffers=False)
            cfg.model_wrapper_cfg = wrapper | dict(device_ids=None)
            cfg.pop("sync_bn", None)  # torch has SyncBN on GPUs only; on CPUs each process uses its own statistics
    return cfg


def divide(cfg, processes: int) -> tuple[int, int]:
    """Divide a batch; return the images of an update in each process, and the number of micro-batches that they form.

    With ``micro_batch``, the number of images over which BN takes its statistics, an update accumulates gradients.

    Raises:
        ValueError: the batch cannot be divided among so many processes; names the possible numbers.
    """
    micro = min(cfg.micro_batch, cfg.batch) if "micro_batch" in cfg else None
    if cfg.batch % (processes * (micro or 1)) == 0:
        return cfg.batch // processes, cfg.batch // (processes * micro) if micro else 1
    parts = cfg.batch // (micro or 1)
    counts = ", ".join(str(n) for n in range(1, parts + 1) if parts % n == 0)
    if not micro:
        raise ValueError(
            f"The batch of {cfg.batch} images can be divided among {counts} processes, not {processes}; choose another number of "
            "them, or --cfg-options protocol.batch=N."
        )
    if cfg.batch % micro:
        raise ValueError(f"The batch of {cfg.batch} is no multiple of micro_batch, {micro}; give --cfg-options micro_batch=N.")
    raise ValueError(
        f"The batch of {cfg.batch} in parts of {micro}, over which BN takes its statistics (micro_batch), can be divided among "
        f"{counts} processes, not {processes}; choose another number of them, or --cfg-options micro_batch=N."
    )


def check_batch(images: int, batch: int, where: str) -> None:
    """Raise ValueError if a training set has fewer images than a batch; ``where`` names the set."""
    if images < batch:
        raise ValueError(
            f"{where} has {images} images, fewer than one batch of {batch}; set a smaller one with --cfg-options batch=N "
            "(protocol.batch=N in detection and segmentation), or add images."
        )


def milestones(length: int, parts: Sequence[float]) -> list[int]:
    """Return the epochs or updates at which a schedule of ``length`` steps: each fraction in ``parts`` (0..1), rounded down.

    A step at 0 is left out.
    """
    return [step for part in parts if (step := int(length * part + 1e-6))]


def follows(key: str, sources: Mapping[str, str]) -> str | None:
    """Return the config value from which a dotted ``key`` of a resolved config follows, or None if the key is free.

    ``sources`` maps each derived key, which stands for all keys below it, to that value, the one to change instead.
    """
    return next((value for derived, value in sources.items() if key == derived or key.startswith(join(derived, ""))), None)
