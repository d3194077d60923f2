"""Extend MMEngine's runner so that resuming is exact: a run that was stopped anywhere and resumed ends as an undisturbed one.

Random draws follow three rules, see ``tools.engine.training.seeding``; checkpoints hold all other state.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from backbones.common.files import atomic_path
from tools.engine.run_folder import Progress, checkpoints_in, refuse_removed
from tools.engine.training.acceleration import TF32_DEFAULT, set_tf32
from tools.engine.training.checkpoints import check_fit
from tools.engine.training.seeding import EpochBatchSampler, SeededDataset

GRACE = 10  # seconds that a worker outlives SIGTERM
RECENT = 20  # updates whose mean loss and median pace are shown while a run goes on


def end_workers(runner: Runner) -> None:
    """End the workers of a runner's loaders, which would otherwise wait for the interpreter's end."""
    for name in ("_train_loop", "_val_loop", "_test_loop"):
        loader = getattr(getattr(runner, name, None), "dataloader", None)
        if iterator := getattr(loader, "_iterator", None):
            iterator._shutdown_workers()
            loader._iterator = None


def _leave_signals(init: Callable[[int], None] | None, worker: int) -> None:
    """Let a worker ignore signals to all processes of a run: the trainer handles them, saves, and ends its workers itself.

    Python also ends forgotten workers with SIGTERM, so a worker obeys it after ``GRACE`` seconds.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    if init:
        init(worker)


class PreformattedConfig(Config):
    """Keep the text that the Config was given instead of formatting it anew.

    MMEngine asks for the text five times a run, and yapf takes half a second each time.
    """

    @property
    def pretty_text(self) -> str:
        return self.text


class ExactRunner(Runner):
    """Run with loaders that follow the seeding rules, and write checkpoints whole and without code."""

    last: str | None = None  # name of the checkpoint that this process wrote last or resumed from
    saved = 0  # updates in that checkpoint
    spent = 0.0  # seconds that the run took up to the checkpoint from which this process resumed
    began = 0.0  # time at which this process set up the run
    states: Sequence[dict] = ()  # the state of each process's hooks, for the checkpoint being saved
    watch: Callable[[Progress], None] = staticmethod(lambda progress: None)  # gets what is written to progress.json

    def __init__(self, *args, **kwargs):
        self.losses: deque[float] = deque(maxlen=RECENT)  # of the last updates whose losses were read
        super().__init__(*args, **kwargs)

    def seconds(self) -> float:
        """Return the time that the run has taken so far, with its earlier starts."""
        return self.spent + time.time() - self.began

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment as MMEngine does, note the time, and set TF32 as the config says."""
        self.began = time.time()
        super().setup_env(env_cfg)
        set_tf32(self.cfg.get("tf32", TF32_DEFAULT))

    @staticmethod
    def build_dataloader(dataloader, seed: int | None = None, diff_rank_seed: bool = False):
        """Build a loader whose samples and batches follow the seeding rules."""
        skipped = dataloader.pop("skipped", None) if isinstance(dataloader, dict) else None
        if isinstance(dataloader, dict):
            dataloader.setdefault("pin_memory", torch.cuda.is_available())  # else copies to the GPU do not overlap its work
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        # A DataLoader guards these two names against assignment, and MMEngine builds both itself.
        object.__setattr__(loader, "dataset", SeededDataset(loader.dataset, seed or 0, skipped))
        object.__setattr__(loader, "batch_sampler", EpochBatchSampler(loader.batch_sampler))
        loader.generator = torch.Generator()  # else each pass over the loader draws from the trainer's generator
        loader.worker_init_fn = partial(_leave_signals, loader.worker_init_fn)
        return loader

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """Lay the weights out channels last, then wrap the model; batches are copied to a GPU without waiting.

        Channels last is faster on CPUs and on GPUs with tensor cores. The layout must be set before wrapping: DDP takes gradients
        in the layout that the weights had when it was built, and mixes them up if the layout has changed since.
        """
        for module in model.modules():
            if isinstance(module, BaseDataPreprocessor):
                module._non_blocking = True
        return super().wrap_model(model_wrapper_cfg, model.to(memory_format=torch.channels_last))

    def build_optim_wrapper(self, optim_wrapper):
        """Build the wrapper of the optimiser, with momentum that starts from zero."""
        wrapper = super().build_optim_wrapper(optim_wrapper)
        if not isinstance(wrapper, OptimWrapperDict):
            start_from_zero(wrapper.optimizer)
        return wrapper

    def dump_config(self) -> None:
        """Do nothing: ``tools.engine.training.run`` writes the config in a form that can be run again."""

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write the state of all processes as one whole file, and keep only the last of the earlier checkpoints.

        Raises:
            Diverged: the loss or a weight is not finite; nothing is written.
            ValueError: the disk has no room for the file, and the last checkpoint stays; or the run's folder was removed.
        """
        self.call_hook("before_saving")
        self.states = all_gather_object({type(hook).__name__: hook.state(self) for hook in self.hooks if hasattr(hook, "state")})
        if is_main_process():
            refuse_removed(Path(out_dir))
            self.keep_last()
            try:
                with atomic_path(Path(out_dir) / filename) as part:
                    super().save_checkpoint(out_dir, part.name, *args, **kwargs)
            except OSError as error:
                raise ValueError(
                    f"{Path(out_dir) / filename} could not be written ({error.strerror}); the last good checkpoint is "
                    f"{self.last or 'none'}. Make room there, and the same command goes on."
                ) from None
        self.last, self.saved = filename, self.iter + (not kwargs.get("by_epoch", True))

    def keep_last(self) -> None:
        """Remove all checkpoints but the last, if this process knows it; so there are at most two, one being written."""
        if not self.last:
            return
        for path in checkpoints_in(Path(self.work_dir)):
            if path.name != self.last:
                path.unlink(missing_ok=True)

    def load_checkpoint(self, filename: str, *args, **kwargs):
        """Load a checkpoint of tensors and plain values that fits the model exactly.

        Raises:
            ValueError: the file is damaged, would run code, or does not hold exactly the tensors of the model.
        """
        check_fit(filename, self.model)
        if self._resume:
            self.last = Path(filename).name
        checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        checkpoint.get("meta", {}).pop("config", None)  # MMEngine would run it as Python
        if self._resume:
            self.saved = checkpoint["meta"]["iter"]
        return checkpoint


def start_from_zero(optimizer: torch.optim.Optimizer) -> None:
    """Give fused SGD a momentum of zeros.

    torch allocates the momentum of fused SGD without initialising it, and an update that a gradient scaler skips never fills it.
    If the first update overflows float16, the momentum would hold garbage. Otherwise zeros do not change the first update:
    without dampening, its momentum is the gradient.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
