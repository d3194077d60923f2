"""Protocols of the dense tasks: all that moves a downstream number and is not the backbone, as data."""

import difflib
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def choose_protocol(cfg, name: str | None) -> dict:
    """The protocol of a run: ``configs/TASK/protocols/NAME.py``, by default the one that the config names.

    Args:
        cfg: of a dense task. Its ``protocol`` is the name of the default, or the protocol itself, as at the small scales and in
            the config of a finished run.
        name: what was asked for, or None.

    Raises:
        ValueError: there is no such protocol, it is for other networks, or the config has its own.
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
    from mmengine.config import Config

    protocol = Config.fromfile(str(files[name])).protocol.to_dict()
    if cfg.network not in protocol["networks"]:
        raise ValueError(f"The protocol {name} is for {', '.join(protocol['networks'])}, not for {cfg.network}; choose another.")
    return protocol
