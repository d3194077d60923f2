"""Read config files, each once per process."""

import copy
import logging
import os
from functools import cache
from pathlib import Path


def read_config(path: str | Path):
    """Return the mmengine Config in ``path``, as a copy that the caller may change.

    A config is Python, and reading it runs it. The modules of its ``custom_imports`` are not imported here.
    """
    return copy.deepcopy(_read(str(path), Path(path).stat().st_mtime_ns, os.environ.get("DATA_ROOT")))


@cache
def _read(path: str, changed: int, data_root: str | None):
    from mmengine.config import Config, config

    logging.disable(logging.INFO)  # MMEngine logs DATA_ROOT each time
    find_external = config._get_external_cfg_path

    def find_indexed(package: str, name: str) -> str:
        if name.startswith("_base_/"):  # not in the index of models; MMEngine takes seconds to find that out, by this error
            raise ValueError(name)
        return find_external(package, name)

    config._get_external_cfg_path = find_indexed
    try:
        return Config.fromfile(path, import_custom_modules=False)
    finally:
        config._get_external_cfg_path = find_external
        logging.disable(logging.NOTSET)
