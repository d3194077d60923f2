"""Import the modules that runs of all tasks need, for ``fork_server``; nothing here may run an operation of torch."""

import gc
import io
import pkgutil
from contextlib import redirect_stderr
from importlib import import_module

from backbones.common.project import ROOT
from backbones.common.quiet import quiet

LIBRARIES = ("backbones.mmcv_ops", "mmdet.utils", "mmseg.utils", "mmengine.runner", "timm", "torch._dynamo", "tools.train")


def all_modules() -> None:
    """Import the libraries and every module of this project that a run may use."""
    for name in LIBRARIES:
        import_module(name)
    for library in ("mmdet", "mmseg"):
        import_module(f"{library}.utils").register_all_modules(init_default_scope=False)
    tasks = sorted(path.parent.name for path in ROOT.glob("*/task.py"))
    for package in ("backbones", "tools.engine", *tasks):
        for module in pkgutil.walk_packages([str(ROOT / package.replace(".", "/"))], f"{package}."):
            if not module.name.startswith(("tools.engine.toy_data", __name__)):
                import_module(module.name)


with quiet(), redirect_stderr(io.StringIO()):
    all_modules()
gc.collect()
gc.freeze()  # garbage collection in a run need not scan these imports
