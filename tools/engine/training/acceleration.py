"""Make a run faster without changing its result; two config keys, ``compile`` and ``tf32``, do change it."""

import ctypes
import sys

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

TF32 = {"convolutions": (True, False), "all": (True, True), "none": (False, False)}  # in convolutions, in matrix products
TF32_DEFAULT = "convolutions"  # torch's own default
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def prepare(cfg) -> None:
    """Change a resolved config in place so that its runner defers logging and compiles the backbone if asked to.

    ``compile`` is True or the arguments of ``torch.compile``, see ``CompileHook``. MMEngine itself would compile the whole step
    with all its logging.
    """
    if "type" not in cfg.get("log_processor", {}):
        cfg.log_processor = dict(cfg.get("log_processor", {}), type="tools.engine.training.deferred_logging.DeferredLogProcessor")
        cfg.default_hooks.runtime_info = dict(type="tools.engine.training.deferred_logging.DeferredInfoHook")
    if options := cfg.pop("compile", None):
        options = options if isinstance(options, dict) else {}
        cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="tools.engine.training.acceleration.CompileHook", **options)]


class CompileHook(Hook):
    """Train with a compiled backbone and evaluate with the eager one, so that ``tools/test.py`` gives the same metrics.

    The backbone is compiled in place: tensor names stay the same, and the copy from which a card is written is eager. The rest of
    the model stays eager, because the shapes in a detector's heads change from batch to batch.

    Args:
        options: arguments of ``torch.compile``, such as ``mode``.
    """

    def __init__(self, **options):
        self.options = options

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.backbone.compile(**self.options)
        runner.logger.info("The backbone is compiled at the first update, which takes a while.")

    def before_val(self, runner) -> None:
        torch.compiler.set_stance("force_eager")

    def after_val(self, runner) -> None:
        torch.compiler.set_stance("default")

    before_test, after_test = before_val, after_val


def set_tf32(where: str) -> None:
    """Let a GPU with tensor cores round the inputs of float32 arithmetic to 10 bits of mantissa (TF32).

    Args:
        where: 'convolutions' (torch's default), 'all' (matrix products too) or 'none'.

    Raises:
        ValueError: ``where`` is another word.
    """
    if where not in TF32:
        raise ValueError(f"tf32 is {where!r}. Set it to one of {', '.join(TF32)}.")
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = TF32[where]


def keep_freed_memory() -> bool:
    """Let this process reuse the memory it frees instead of returning it to the system; return whether that is possible.

    By default glibc takes each large tensor from the system and returns it, and the system fills every page with zeros, at every
    update: over a third of the time of a small segmenter's update on a CPU. No number changes; a run's peak memory grows by up to
    7 %. Only glibc has this switch: elsewhere the function does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
