"""Read the protocols of the dense tasks: all settings besides the backbone that affect a downstream result, as data.

A protocol is a dict of values, in ``configs/TASK/protocols/NAME.py`` or in a config. It may name another protocol as its
``base`` and state only the values that differ.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from backbones.common.config_reader import read_config
from backbones.common.project import CONFIGS
from backbones.common.schema import Count, Fraction, Index, NonNegative, Positive, accept, field_names, join, refuse_unknown

# keys of a resolved config that every transfer derives -> the value to change instead
FOLLOWS = {
    "batch": "protocol.batch",
    "optim_wrapper.optimizer.lr": "protocol.lr",
    "optim_wrapper.optimizer.momentum": "protocol.momentum",
    "optim_wrapper.optimizer.weight_decay": "protocol.weight_decay",
    "epochs": "protocol.length.epochs",
    "updates": "protocol.length.updates",
    "train_cfg.max_epochs": "protocol.length.epochs",
    "train_cfg.max_iters": "protocol.length.updates",
    "train_dataloader.batch_size": "protocol.batch",
    "network": "model",
    **dict.fromkeys(
        (f"model.backbone.{key}" for key in ("type", "depth", "variant", "base_channels", "name", "width")),
        "the card, or scratch_backbone",
    ),
    "train_dataloader.dataset.data_root": "data_root",
    "test_dataloader.dataset.data_root": "data_root",
}
OWN = ("name", "base", "source", "chosen")  # keys that a protocol never takes from its base
Pixels = Annotated[tuple[Count, Count], Meta(description="the long side at most, and the short side")]


class Protocol(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Declare the values that the protocols of all dense tasks have; each task's schema adds its own.

    ``chosen`` names the values that the source does not give, or that differ here, and says of each what and why. Besides values
    it may name the behaviours in ``COMMON``, which all protocols of a task share.
    """

    COMMON: ClassVar[Mapping[str, str]] = {}  # behaviour -> what is done here, whatever the protocol

    name: str
    source: str
    chosen: dict[str, str] | Literal["all"] = {}
    networks: tuple[str, ...]
    test_image_scale: Pixels
    flip: Fraction
    batch: Count  # over all processes
    length: dict[Literal["epochs", "updates"], Count]
    warmup: Index  # updates
    lr: Positive  # at ``batch``
    momentum: Fraction
    weight_decay: NonNegative
    selection: Literal["last"]  # the checkpoint that is tested


def protocol_files(task: str) -> dict[str, Path]:
    """Return the files of a task's protocols, by protocol name."""
    return {path.stem: path for path in sorted((CONFIGS / task / "protocols").glob("*.py"))}


def read_protocol(task: str, name: str) -> dict[str, Any]:
    """Return the protocol ``name`` of a task, completed by the values of its base.

    Raises:
        ValueError: there is no such protocol; names the nearest.
    """
    files = protocol_files(task)
    if name not in files:
        near = difflib.get_close_matches(str(name), files, n=2, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        raise ValueError(f"There is no protocol {name!r} for {task}; {hint}all: {', '.join(files)}.")
    return with_base(task, read_config(files[name]).protocol.to_dict())


def with_base(task: str, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``protocol`` completed by the values of its base; dicts are merged, except ``length``."""
    if "base" not in protocol:
        return dict(protocol)
    base = {key: value for key, value in read_protocol(task, protocol["base"]).items() if key not in OWN}
    stated = {key: value for key, value in protocol.items() if key != "base"}
    for key, value in stated.items():
        mergeable = isinstance(value, Mapping) and isinstance(base.get(key), Mapping) and key != "length"
        base[key] = {**base[key], **value} if mergeable and "type" not in value else value
    return base


def choose_protocol(values, schema: type[Protocol], network: str, name: str | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the protocol of a run.

    Args:
        values: of a dense task's config. Its ``protocol`` is the name of the default protocol, or a protocol itself.
        schema: of the task's protocols.
        network: name of the network that the run trains.
        name: of the requested protocol, or None for the default.
        changes: values that replace the protocol's, by dotted key; its name then lists them. A changed ``batch`` scales ``lr``.

    Raises:
        ValueError: there is no such protocol or value, a value is of another type or out of range, the protocol is for other
            networks, or a protocol is requested and the config has its own.
    """
    default = values["protocol"]
    if isinstance(default, str):
        protocol = read_protocol(values["task"], name or default)
        where = f"The protocol {name or default}"
    else:
        if name not in (None, default.get("name")):
            raise ValueError(
                f"--protocol {name}: this config has its own protocol, {default.get('name')}; choose protocols at scale paper, "
                f"with configs/{values['task']}/*_paper.py."
            )
        protocol, where = with_base(values["task"], default), f"The protocol {default.get('name')}"
    protocol = as_dict(accept(protocol, schema, where))
    if protocol["chosen"] != "all":
        refuse_unknown(protocol["chosen"], {*protocol, *schema.COMMON}, where, "chosen")
    protocol = _changed(protocol, changes, schema)
    if len(protocol["length"]) != 1:
        raise ValueError(f"{where} has length={protocol['length']}; give one of length.epochs and length.updates.")
    if network not in protocol["networks"]:
        raise ValueError(f"{where} is for {', '.join(protocol['networks'])}, not for {network}; choose another.")
    return protocol


def as_dict(protocol: Protocol) -> dict[str, Any]:
    """Return a protocol as plain values, defaults included."""
    return msgspec.to_builtins(protocol)


def _changed(protocol: dict[str, Any], changes: Mapping[str, Any], schema: type[Protocol]) -> dict[str, Any]:
    changed, notes = dict(protocol), []
    for key, value in changes.items():
        before = dict(changed)
        _set(changed, key, value, schema)
        changed = as_dict(accept(changed, schema, "--cfg-options", "protocol"))
        if changed != before:
            notes.append(f"{key}={value}")
    if changed["batch"] != protocol["batch"] and "lr" not in changes:
        changed["lr"] = protocol["lr"] * changed["batch"] / protocol["batch"]
        notes.append(f"lr={changed['lr']:g} by the batch")
    return changed | {"name": ", ".join([protocol["name"], *notes])}


def _set(protocol: dict[str, Any], key: str, value: Any, schema: type[Protocol]) -> None:
    """Set the value at a dotted ``key``, in place; ``length.updates`` replaces ``length.epochs``."""
    item, _, subkey = key.partition(".")
    if item in ("name", "base"):
        raise ValueError(f"--cfg-options protocol.{key}: the name says what the values are and is not set; change those.")
    refuse_unknown([item], field_names(schema), "--cfg-options", "protocol")
    if item == "length" and not subkey and not isinstance(value, Mapping):
        raise ValueError(f"--cfg-options protocol.length={value}: give protocol.length.epochs=N or protocol.length.updates=N.")
    if not subkey:
        protocol[item] = value
    elif item == "length":
        protocol[item] = {subkey: value}
    elif isinstance(protocol[item], dict) and "." not in subkey:
        refuse_unknown([subkey], protocol[item], "--cfg-options", join("protocol", item))
        protocol[item] = {**protocol[item], subkey: value}
    else:
        raise ValueError(f"--cfg-options protocol.{key}: protocol.{item} is {protocol[item]!r}, which has no parts.")


def set_length(cfg, protocol: Mapping[str, Any]) -> tuple[int, bool]:
    """Set the length of training of a config, in place, to ``protocol["length"]``: dict(epochs=N) or dict(updates=N).

    Returns:
        N, and whether it counts epochs.
    """
    ((unit, length),) = protocol["length"].items()
    by_epoch = unit == "epochs"
    if by_epoch:
        cfg.train_cfg = dict(by_epoch=True, max_epochs=length)
    else:
        cfg.train_cfg = dict(by_epoch=False, max_iters=length, val_interval=length)
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=max(length // 20, 1))
        cfg.default_hooks.logger.log_metric_by_epoch = False
        cfg.log_processor = dict(by_epoch=False)
    cfg[unit] = length
    return length, by_epoch
