"""Reading of config files, each once a process."""

import copy
import logging
import os
from functools import cache
from pathlib import Path


def read_config(path: str | Path):
    """The config in ``path``, a Config of mmengine of one's own.

    A config is Python: what it says is run.
    """
    return copy.deepcopy(_read(str(path), Path(path).stat().st_mtime_ns, os.environ.get("DATA_ROOT")))


@cache
def _read(path: str, changed: int, data_root: str | None):
    from mmengine.config import Config, config

    logging.disable(logging.INFO)  # MMEngine announces DATA_ROOT each time
    find = config._get_external_cfg_path
    config._get_external_cfg_path = lambda package, name: _no_model(name) or find(package, name)
    try:
        return Config.fromfile(path)
    finally:
        config._get_external_cfg_path = find
        logging.disable(logging.NOTSET)


def _no_model(name: str) -> None:
    """Says that ``_base_/...`` of a library is not in its index of models, as MMEngine finds by reading all of the index.

    Raises:
        ValueError: so.
    """
    if name.startswith("_base_/"):
        raise ValueError(name)
