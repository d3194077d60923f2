"""What makes a run faster and changes no result, and two switches that do: ``compile`` and ``tf32`` in a config."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

TF32 = {"convolutions": (True, False), "all": (True, True), "none": (False, False)}  # in convolutions, in matrix products
TORCHS = "convolutions"  # what torch does when nothing is said


def prepare(cfg) -> None:
    """Settles, in place, how the runner of a resolved config does what it says.

    With ``compile`` (True, or arguments of ``torch.compile``) the backbone is compiled, see ``CompileHook``; MMEngine itself
    would compile the whole step, with all that it logs.
    """
    if "type" not in cfg.get("log_processor", {}):
        cfg.log_processor = dict(cfg.get("log_processor", {}), type="tools.engine.training.deferred_logging.DeferredLogProcessor")
        cfg.default_hooks.runtime_info = dict(type="tools.engine.training.deferred_logging.DeferredInfoHook")
    if options := cfg.pop("compile", None):
        options = options if isinstance(options, dict) else {}
        cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="tools.engine.training.acceleration.CompileHook", **options)]


class CompileHook(Hook):
    """Trains with a compiled backbone, and evaluates with the eager one, so that ``tools/test.py`` finds the same figures.

    The backbone is compiled in place: no name of a tensor changes, and a copy of it, as a card is written from, is eager. The
    rest of a model stays eager: the shapes in a detector's heads change from batch to batch.

    Args:
        options: of ``torch.compile``, such as ``mode``.
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
    """Lets a GPU round the inputs of float32 arithmetic to 10 bits of mantissa, where it has tensor cores for that (TF32).

    Args:
        where: 'convolutions', which is what torch does by itself, 'all', matrix products too, or 'none'.

    Raises:
        ValueError: it is none of these.
    """
    if where not in TF32:
        raise ValueError(f"tf32 is {where!r}; give {', '.join(TF32)}.")
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = TF32[where]
