"""Declare the values that a config of any task may have: what a person may want to change, and nothing that follows from it."""

from typing import Any, Literal

import msgspec

from backbones.common.schema import Count, Index, Positive


class Values(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The keys of a config that all tasks share; a task's own schema adds those of its own.

    A key that holds a dict or a list is handed to MMEngine; the classes named in it check what is below.
    """

    # what the run is
    task: str
    scale: Literal["toy", "mini", "paper"]
    seconds: Positive | None = None  # how long a run takes on two CPU cores, for estimates
    threads: Count | None = None  # of the CPU in a run; None: all that torch takes
    data_root: str
    num_workers: Index  # processes that load data, of each loader
    val_interval: Index = 0  # epochs, or updates, between evaluations while training; 0: only at the end
    tf32: Literal["convolutions", "all", "none"] | None = None
    compile: bool | dict[str, Any] = False  # the backbone, or arguments of torch.compile
    # what MMEngine gets
    model: dict[str, Any]
    test_evaluator: dict[str, Any]
    custom_hooks: list[dict[str, Any]] = []
    default_hooks: dict[str, Any]
    env_cfg: dict[str, Any]
    default_scope: str
    custom_imports: dict[str, Any] | None = None
    log_level: str = "INFO"
    log_processor: dict[str, Any] | None = None
    visualizer: dict[str, Any] | None = None
    find_unused_parameters: bool | None = None
    load_from: str | None = None
