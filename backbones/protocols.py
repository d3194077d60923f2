"""Protocols of the dense tasks: all that moves a downstream number and is not the backbone, as data."""

import difflib
from pathlib import Path

from backbones.configs import read_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def choose_protocol(cfg, name: str | None, changes: dict | None = None) -> dict:
    """The protocol of a run: ``configs/TASK/protocols/NAME.py``, by default the one that the config names.

    Args:
        cfg: of a dense task. Its ``protocol`` is the name of the default, or the protocol itself, as at the small scales and in
            the config of a finished run.
        name: what was asked for, or None.
        changes: values to have instead of the protocol's; its name says so then.

    Raises:
        ValueError: there is no such protocol, it is for other networks, the config has its own, or no such value.
    """
    own = cfg.get("protocol")
    if not isinstance(own, str):
        if name not in (None, own["name"]):
            raise ValueError(
                f"--protocol {name}: this config has its own protocol, {own['name']}; protocols are chosen at scale paper, with "
                f"configs/{cfg.task}/*_paper.py."
            )
        return own
    files = {path.stem: path for path in sorted((CONFIGS / cfg.task / "protocols").glob("*.py"))}
    if (name := name or own) not in files:
        near = difflib.get_close_matches(name, files, n=2, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        raise ValueError(f"There is no protocol {name!r} for {cfg.task}; {hint}all: {', '.join(files)}.")
    protocol = read_config(files[name]).protocol.to_dict()
    if cfg.network not in protocol["networks"]:
        raise ValueError(f"The protocol {name} is for {', '.join(protocol['networks'])}, not for {cfg.network}; choose another.")
    for key, value in (changes or {}).items():
        item, _, unit = key.partition(".")  # length.updates=100 takes the place of length.epochs
        if item not in protocol:
            near = difflib.get_close_matches(item, protocol, n=3) or protocol
            raise ValueError(f"The protocol {name} has no {item!r}; nearest: {', '.join(near)}.")
        protocol[item] = {unit: value} if unit else value
        protocol["name"] += f", {key}={value}"
    return protocol


def set_length(cfg, protocol: dict) -> tuple[int, bool]:
    """Sets how long a config trains, in place, to ``protocol["length"]``: dict(epochs=N) or dict(updates=N).

    Returns:
        N, and whether it counts epochs.

    Raises:
        ValueError: it is no such dict.
    """
    if not isinstance(protocol["length"], dict) or list(protocol["length"]) not in (["epochs"], ["updates"]):
        raise ValueError(f"The length of protocol {protocol['name']} is {protocol['length']}; give length.epochs or .updates.")
    (unit, length), by_epoch = next(iter(protocol["length"].items())), "epochs" in protocol["length"]
    if by_epoch:
        cfg.train_cfg = dict(by_epoch=True, max_epochs=length)
    else:
        cfg.train_cfg = dict(by_epoch=False, max_iters=length, val_interval=length)
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=max(length // 20, 1))
        cfg.default_hooks.logger.log_metric_by_epoch = False
        cfg.log_processor = dict(by_epoch=False)
    cfg[unit] = length
    return length, by_epoch
