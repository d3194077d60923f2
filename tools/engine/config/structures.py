"""Declare what may stand in those dicts of a resolved config from which no class is built, so that no signature says it.

Each schema names the keys that MMEngine, mmdet or mmseg takes out of the dict itself. Checked without importing any of them.
"""

import re
from types import NoneType
from typing import Any, Literal

import msgspec

from backbones.common.schema import (
    Count,
    Fraction,
    Index,
    NonNegative,
    Number,
    Positive,
    PositiveFraction,
    Workers,
    accept,
    field_names,
)
from backbones.networks.architecture import Architecture

Dict = dict[str, Any]


class Loader(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A ``train_dataloader``, ``val_dataloader`` or ``test_dataloader``: arguments of torch's DataLoader and of MMEngine."""

    dataset: Dict
    sampler: Dict
    batch_sampler: Dict | None = None
    batch_size: Count
    num_workers: Workers
    persistent_workers: bool = False
    drop_last: bool = False
    pin_memory: bool = False
    prefetch_factor: Count | None = None
    timeout: NonNegative = 0
    collate_fn: Dict | None = None
    worker_init_fn: Dict | None = None
    num_batch_per_epoch: Count | None = None


class OptimWrapper(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``optim_wrapper``: what builds the wrapper of the optimiser."""

    type: str
    optimizer: Dict
    accumulative_counts: Count
    clip_grad: Dict | None = None
    paramwise_cfg: Dict | None = None
    constructor: str | None = None
    dtype: str | None = None
    loss_scale: str | Number | Dict | None = None
    use_fsdp: bool = False


class Paramwise(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``optim_wrapper.paramwise_cfg``: factors of learning rate and decay (MMEngine's DefaultOptimWrapperConstructor)."""

    custom_keys: dict[str, dict[Literal["lr_mult", "decay_mult"], NonNegative]] = {}
    bias_lr_mult: NonNegative = 1
    bias_decay_mult: NonNegative = 1
    norm_decay_mult: NonNegative = 1
    flat_decay_mult: NonNegative = 1
    dwconv_decay_mult: NonNegative = 1
    dcn_offset_lr_mult: NonNegative = 1
    bypass_duplicate: bool = False


class ClipGrad(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``optim_wrapper.clip_grad``: arguments of torch's clip_grad_norm_ or, with type 'value', clip_grad_value_."""

    type: Literal["norm", "value"] = "norm"
    max_norm: Positive | None = None
    norm_type: Positive | None = None
    error_if_nonfinite: bool = False
    clip_value: Positive | None = None
    foreach: bool | None = None


class TrainLoop(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``train_cfg``: the length of training and the evaluations in it."""

    by_epoch: bool
    type: str | None = None
    max_epochs: Count | None = None
    max_iters: Count | None = None
    val_begin: Index = 1
    val_interval: Count = 1
    dynamic_intervals: list[tuple[int, int]] | None = None


class EvaluationLoop(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``val_cfg`` and ``test_cfg``."""

    type: str | None = None
    fp16: bool = False


class Randomness(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``randomness``: the seed of a run; a plan has a placeholder there."""

    seed: int | str
    diff_rank_seed: bool = False
    deterministic: bool = False


class Environment(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``env_cfg``: settings of the process."""

    cudnn_benchmark: bool = False
    mp_cfg: Dict = {}
    dist_cfg: Dict = {}
    resource_limit: Count = 4096


class Hooks(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``default_hooks``: MMEngine's own hooks by name; None leaves one out that a run can do without."""

    runtime_info: Dict = {}
    timer: Dict | None = None
    sampler_seed: Dict | None = None
    logger: Dict = {}
    param_scheduler: Dict = {}
    checkpoint: Dict = {}
    visualization: Dict | None = None


class NMS(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An ``nms`` of a detector."""

    type: Literal["nms", "soft_nms", "nms_match"] = "nms"
    iou_threshold: Fraction
    max_num: int = -1
    class_agnostic: bool = False
    split_thr: Count = 10000
    score_threshold: Fraction = 0


class Proposals(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``model.train_cfg.rpn_proposal`` and ``model.test_cfg.rpn``: which proposals reach the regions."""

    nms_pre: Count
    max_per_img: Count
    nms: Dict
    min_bbox_size: NonNegative = 0


class StageTraining(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``model.train_cfg.rpn`` and ``model.train_cfg.rcnn``: on what a stage of a detector trains."""

    assigner: Dict
    sampler: Dict
    allowed_border: int = -1
    pos_weight: Number = -1
    debug: bool = False
    mask_size: Count | None = None


class Detections(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``model.test_cfg.rcnn``: which detections count."""

    score_thr: Fraction
    nms: Dict
    max_per_img: Count
    mask_thr_binary: Fraction | None = None


class Inference(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``model.test_cfg`` of a segmenter: how it looks at an image."""

    mode: Literal["whole", "slide"]
    crop_size: tuple[Count, Count] | None = None
    stride: tuple[Count, Count] | None = None
    scales: tuple[Positive, ...] | None = None
    flip: bool = False


class TwoStageTraining(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``model.train_cfg`` of a detector."""

    rpn: Dict
    rpn_proposal: Dict
    rcnn: Dict


class TwoStageTest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``model.test_cfg`` of a detector."""

    rpn: Dict
    rcnn: Dict


class Imports(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``custom_imports``: modules that MMEngine imports with a config."""

    imports: list[str] | str
    allow_failed_imports: bool = False


class Distribution(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``env_cfg.dist_cfg``: how processes of a run find each other."""

    backend: Literal["nccl", "gloo", "mpi"]
    timeout: Positive | None = None
    init_method: str | None = None


class DataFolders(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``dataset.data_prefix``: folders below the dataset's root."""

    sub_data_root: str | None = None
    img_path: str | None = None
    seg_map_path: str | None = None


class Metainfo(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``dataset.metainfo``: names and colours of classes."""

    classes: tuple[str, ...]
    palette: list[tuple[int, int, int]] | None = None


class Filter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``dataset.filter_cfg``: images and boxes that are not trained on."""

    filter_empty_gt: bool = False
    bbox_min_size: Index | None = None


class Padding(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``pad_val`` of mmcv's Pad: what fills an image and its mask."""

    img: Number | tuple[Number, ...] = 0
    seg: int = 255


class Optimizer(msgspec.Struct, kw_only=True):
    """``optim_wrapper.optimizer``: what optimisers share; their classes know the rest."""

    lr: Positive = 1
    momentum: Fraction = 0
    weight_decay: NonNegative = 0


class Schedule(msgspec.Struct, kw_only=True):
    """An item of ``param_scheduler``: what schedules share; ``milestones`` are epochs or updates."""

    begin: NonNegative = 0
    end: Positive | None = None
    milestones: list[Count] = []
    gamma: Positive = 1
    eta_min: NonNegative = 0
    power: NonNegative = 1
    start_factor: PositiveFraction = 1


class LogHook(msgspec.Struct, kw_only=True):
    """``default_hooks.logger``."""

    interval: Count = 1


class CheckpointHook(msgspec.Struct, kw_only=True):
    """``default_hooks.checkpoint``; what counts is the last checkpoint, never the best one on the test set."""

    interval: Count = 1
    save_best: None = None


class Evaluator(msgspec.Struct, kw_only=True):
    """``test_evaluator``: the least IoU of a hit, and the width of the band around boundaries in pixels."""

    iou: PositiveFraction = 0.5
    band: Count = 3


class Neck(msgspec.Struct, kw_only=True):
    """``model.neck``."""

    out_channels: Count = 1


class Weighted(msgspec.Struct, kw_only=True):
    """A loss of a detector or segmenter."""

    loss_weight: NonNegative = 1


class Loss(msgspec.Struct, kw_only=True):
    """``model.loss`` of a classifier."""

    label_smoothing: Fraction = 0


class Starting(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``env_cfg.mp_cfg``: how processes are started."""

    mp_start_method: Literal["fork", "spawn", "forkserver"] = "fork"
    opencv_num_threads: Index = 0


SCHEMAS = (  # the dotted place of a dict, numbers in it left out, and its schema
    (r"(train|val|test)_dataloader", Loader),
    (r"optim_wrapper", OptimWrapper),
    (r"optim_wrapper\.paramwise_cfg", Paramwise),
    (r"optim_wrapper\.clip_grad", ClipGrad),
    (r"optim_wrapper\.optimizer", Optimizer),
    (r"param_scheduler", Schedule),
    (r"model\.loss", Loss),
    (r"model\.neck", Neck),
    (r"model\..*\.loss_\w+", Weighted),
    (r"(val|test)_evaluator", Evaluator),
    (r"train_cfg", TrainLoop),
    (r"(val|test)_cfg", EvaluationLoop),
    (r"randomness", Randomness),
    (r"env_cfg", Environment),
    (r"env_cfg\.mp_cfg", Starting),
    (r"default_hooks", Hooks),
    (r"default_hooks\.logger", LogHook),
    (r"default_hooks\.checkpoint", CheckpointHook),
    (r"env_cfg\.dist_cfg", Distribution),
    (r"custom_imports", Imports),
    (r"(.*\.)?arch", Architecture),
    (r".*\.data_prefix", DataFolders),
    (r".*\.metainfo", Metainfo),
    (r".*\.filter_cfg", Filter),
    (r".*\.pad_val", Padding),
    (r"model\..*\.nms", NMS),
    (r"model\.train_cfg\.rpn_proposal|model\.test_cfg\.rpn", Proposals),
    (r"model\.train_cfg\.(rpn|rcnn)", StageTraining),
    (r"model\.test_cfg\.rcnn", Detections),
)


def schema_of(path: str, node: Dict) -> type[msgspec.Struct] | None:
    """Return the schema of the dict ``node`` at the dotted ``path`` of a resolved config; None where none is declared."""
    place = re.sub(r"\.\d+", "", path)
    if place in ("model.train_cfg", "model.test_cfg") and node:
        if not any("rpn" in key for key in node):
            return Inference
        return TwoStageTraining if place == "model.train_cfg" else TwoStageTest
    return next((schema for pattern, schema in SCHEMAS if re.fullmatch(pattern, place)), None)


def allowed_keys(path: str, node: Dict) -> tuple[str, ...] | None:
    """Return the keys that the schema of a dict declares; None where there is none."""
    schema = schema_of(path, node)
    return field_names(schema) if schema else None


def check_structures(cfg, where: str) -> None:
    """Check every dict of a resolved config that has a declared schema.

    Raises:
        ValueError: an unknown key, a value of another type or out of range, a ``type`` that is no text, or weights that MMEngine
            would load without a check; names the place.
    """
    for path, node in _dicts("", cfg):
        if not isinstance(node.get("type", ""), str | NoneType):
            raise ValueError(f"{where} has {path}.type={node['type']!r:.80}; give the name of a class as text.")
        if node.get("type") == "Pretrained":
            raise ValueError(
                f"{where} has {path}.type=Pretrained, which loads the weights that fit and passes over all others; give a "
                "backbone with --backbone, or the weights of the whole model with load_from."
            )
        if schema := schema_of(path, node):
            accept(node, schema, where, path)


def _dicts(path: str, value: Any):
    """Yield every dict in a config with its dotted path."""
    if hasattr(value, "items"):
        if path:
            yield path, value
        items = value.items()
    else:
        items = enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _dicts(f"{path}.{key}".lstrip("."), item)
