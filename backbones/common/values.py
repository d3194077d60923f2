"""Declare the values that a config of any task may have: those that a user may change, and none that follow from them."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from backbones.common.schema import Index, Positive, Workers


class Built(msgspec.Struct, kw_only=True):
    """Declare a dict from which MMEngine builds a class; the class's signature has the other keys."""

    type: str


class Model(msgspec.Struct, kw_only=True):
    """Declare the key of a model that all tasks read."""

    backbone: dict[str, Any]


class Values(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare the keys of a config that all tasks share; each task's schema adds its own.

    MMEngine gets each dict or list; the classes that are named in it check the keys below.
    """

    # facts of the run
    task: str
    scale: Literal["toy", "mini", "paper"]
    seconds: Positive | None = None  # duration of a run on two CPU cores, for estimates
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None  # CPU threads of a run; None: torch's default
    data_root: str
    num_workers: Workers  # processes of each data loader
    val_interval: Index = 0  # epochs, or updates, between evaluations during training; 0: only at the end
    tf32: Literal["convolutions", "all", "none"] | None = None
    compile: bool | dict[str, Any] = False  # compile the backbone; a dict has arguments of torch.compile
    # parts of MMEngine's config
    model: Model
    test_evaluator: Built
    custom_hooks: list[Built] = []
    default_hooks: dict[str, Any]
    env_cfg: dict[str, Any]
    default_scope: Literal["mmengine", "mmdet", "mmseg"]
    custom_imports: dict[str, Any] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_processor: dict[str, Any] | None = None
    visualizer: dict[str, Any] | None = None
    find_unused_parameters: bool | None = None
    load_from: str | None = None
