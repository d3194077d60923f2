"""MMEngine's runner, made exact: a run that goes on from a checkpoint, wherever it was stopped, ends as the undisturbed one.

What it draws at random follows from two rules, see ``tools.engine.training.seeding``; all else is in its checkpoints.
"""

import pickle
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from zipfile import is_zipfile

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from backbones.common.files import atomic_path
from tools.engine.config import task_of
from tools.engine.training.acceleration import TORCHS, set_tf32
from tools.engine.training.hooks import all_reduce_max
from tools.engine.training.seeding import EpochBatchSampler, SeededDataset, seed_everything, seed_of

GRACE = 10  # seconds that a worker outlives SIGTERM


def end_workers(runner: Runner) -> None:
    """Ends the workers of a runner's loaders; else they wait for the interpreter's end."""
    for name in ("_train_loop", "_val_loop", "_test_loop"):
        loader = getattr(getattr(runner, name, None), "dataloader", None)
        if iterator := getattr(loader, "_iterator", None):
            iterator._shutdown_workers()
            loader._iterator = None


def _leave_signals(init: Callable[[int], None] | None, worker: int) -> None:
    """In a worker: a signal to all processes of a run is for the trainer, which saves and ends its workers itself.

    SIGTERM is what Python ends forgotten workers with, too, so it is obeyed after a while.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    if init:
        init(worker)


class PreformattedConfig(Config):
    """A Config whose text is the one that it was given.

    MMEngine asks for it five times a run, and yapf takes half a second for each.
    """

    @property
    def pretty_text(self) -> str:
        return self.text


class ExactRunner(Runner):
    """MMEngine's Runner with loaders by the rules above, and checkpoints that are written whole and hold no code."""

    last: str | None = None  # the checkpoint that this process has written last, or goes on from
    spent = 0.0  # seconds of the run until that checkpoint, where this process goes on from one

    def setup_env(self, env_cfg: dict) -> None:
        self.began = time.time()
        super().setup_env(env_cfg)
        set_tf32(self.cfg.get("tf32", TORCHS))

    @staticmethod
    def build_dataloader(dataloader, seed: int | None = None, diff_rank_seed: bool = False):
        skipped = dataloader.pop("skipped", None) if isinstance(dataloader, dict) else None
        if isinstance(dataloader, dict):
            dataloader.setdefault("pin_memory", torch.cuda.is_available())  # else no copy to the GPU runs beside its work
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        # A DataLoader guards these two names against assignment, and MMEngine builds both itself.
        object.__setattr__(loader, "dataset", SeededDataset(loader.dataset, seed or 0, skipped))
        object.__setattr__(loader, "batch_sampler", EpochBatchSampler(loader.batch_sampler))
        loader.generator = torch.Generator()  # else each pass over it draws from the trainer's own
        loader.worker_init_fn = partial(_leave_signals, loader.worker_init_fn)
        return loader

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """Lays the weights out channels last, the faster way on CPUs and on GPUs with tensor cores, then wraps the model.

        In that order: DDP takes gradients as the weights lay when it was built, and mixes them up where that has changed since.
        No task's batches are waited for on their way to a GPU.
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
        """Nothing: the config, as it can be run again, is written by ``tools.engine.training.run``."""

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Writes the state of all processes as one whole file; of the checkpoints before it, the last one stays.

        Raises:
            Diverged: the loss or a weight is not finite; nothing is written.
            ValueError: there is no room for it; the last one stays.
        """
        self.call_hook("before_saving")
        self.states = all_gather_object({type(h).__name__: h.state(self) for h in self.hooks if hasattr(h, "state")})
        if is_main_process():
            self.keep_last()
            try:
                with atomic_path(Path(out_dir) / filename) as part:
                    super().save_checkpoint(out_dir, part.name, *args, **kwargs)
            except OSError as error:
                raise ValueError(
                    f"{Path(out_dir) / filename} could not be written ({error.strerror}); the last good checkpoint is "
                    f"{self.last or 'none'}. Make room there and go on with --resume."
                ) from None
        self.last = filename

    def keep_last(self) -> None:
        """Removes all checkpoints but the last, where this process knows it: there are two at most, one being written."""
        for path in Path(self.work_dir).glob("*.pth") if self.last else ():
            if path.name != self.last:
                path.unlink(missing_ok=True)

    def load_checkpoint(self, filename: str, *args, **kwargs):
        """Loads tensors and plain values only.

        Raises:
            ValueError: the file is broken, or would run code.
        """
        check_checkpoint(Path(filename))
        if self._resume:
            self.last = Path(filename).name
        return super().load_checkpoint(filename, *args, **kwargs)


def start_from_zero(optimizer: torch.optim.Optimizer) -> None:
    """Give fused SGD a momentum of zeros.

    torch makes the buffers of fused SGD without values, and an update that a gradient scaler leaves out never gives them any: a
    first update that overflows float16 would leave garbage as momentum. The first update is the same either way: without
    dampening, its momentum is the gradient.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else ():
        if group["fused"] and group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def check_checkpoint(path: Path) -> dict:
    """What is in ``path``, a whole checkpoint of tensors and plain values.

    MMEngine would unpickle, and so run, whatever torch refuses to load without code.

    Raises:
        ValueError: it is none.
    """
    try:
        if not is_zipfile(path):
            raise ValueError("it is no zip archive, as torch writes it")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(f"{path} holds Python objects besides tensors; it is not loaded: that would run its code.") from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        what = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be read as a checkpoint ({what[0]}); take another.") from None


def last_checkpoint(folder: Path, unread: list[str] | None = None) -> Path | None:
    """The checkpoint of a run that has gone furthest and can be read; None where there is none.

    By the updates that it says it has: the times of files do not survive a copy. ``unread`` gets the names of the others.
    """
    best, unread = None, [] if unread is None else unread
    for path in sorted(folder.glob("*.pth"), key=lambda path: path.stat().st_mtime):
        try:
            updates = check_checkpoint(path).get("meta", {}).get("iter", 0)
        except ValueError:
            unread.append(path.name)
            continue
        if best is None or updates >= best[0]:
            best = updates, path
    return best and best[1]


class ExactHook(Hook):
    """Seeds each update, goes on in the middle of an epoch after a resume, and puts into checkpoints what each process has.

    A checkpoint has MMEngine's keys and ``ranks``: for each process what its hooks return by ``state``, plain values and
    tensors, which they get back by ``restore`` where a run goes on with as many processes. Its own are the buffers: the running
    statistics of BN, which differ among processes within an epoch.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner) -> None:
        check_room(runner)
        loop = runner.train_loop
        first, last = all_reduce_max(-runner.iter, runner.iter)
        if -first != last:
            raise ValueError(f"The processes of this run go on from updates {-first:.0f} to {last:.0f}; do all see its folder?")
        self.behind = runner.iter  # updates of the run that this one goes on with
        if hasattr(loop, "dataloader_iterator"):  # by updates: without reading what was trained on already
            loop.dataloader_iterator.skip_iter = lambda updates: fast_forward(loop.dataloader_iterator, updates)

    def before_train_epoch(self, runner) -> None:
        if self.behind and not hasattr(runner.train_loop, "dataloader_iterator"):
            loader = runner.train_dataloader
            loader.batch_sampler.skip = self.behind - runner.epoch * len(loader)
        self.behind = 0

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        seed_everything(seed_of(runner.seed, "update", runner.iter, get_rank()), cuda=True)

    def state(self, runner) -> dict[str, torch.Tensor]:
        if get_world_size() == 1:
            return {}
        return {name: buffer.cpu() for name, buffer in runner.model.module.named_buffers()}

    def restore(self, runner, state: dict[str, torch.Tensor], checkpoint: dict) -> None:
        whole = checkpoint["state_dict"]
        whole.update((name, value) for name, value in state.items() if name in whole)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        # MMEngine's history of logged values is made of objects; only its log lines need it
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
        checkpoint["ranks"] = runner.states
        checkpoint["seconds"] = runner.spent + time.time() - runner.began

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        states = checkpoint.get("ranks", ())
        if runner._resume:
            runner.spent = checkpoint.get("seconds", 0.0)
        if runner._resume and len(states) == get_world_size():
            for hook in runner.hooks:
                if (name := type(hook).__name__) in states[get_rank()]:
                    hook.restore(runner, states[get_rank()][name], checkpoint)

    def after_train(self, runner) -> None:
        if is_main_process():
            runner.keep_last()


def check_room(runner: Runner) -> None:
    """Refuses to start a run for whose files there is no room.

    Raises:
        ValueError: with what it needs, two checkpoints and the card of a pretraining, and what is free.
    """
    folder, pretrains = Path(runner.work_dir), task_of(runner.cfg).STAGE == "pretrain"
    weights = sum(tensor.nbytes for tensor in runner.model.state_dict().values())
    groups = runner.optim_wrapper.optimizer.param_groups
    checkpoint = weights + sum(moments(group) * sum(p.nbytes for p in group["params"] if p.requires_grad) for group in groups)
    need = 2 * checkpoint + pretrains * weights
    free = shutil.disk_usage(folder).free + sum(path.stat().st_size for path in folder.glob("*.pth"))
    if free < need:
        files = f"2 checkpoints of {gigabytes(checkpoint)}" + f" and a card of {gigabytes(weights)}" * pretrains
        raise ValueError(
            f"The run needs about {gigabytes(need)}: {files}; {gigabytes(free)} are free at {folder.absolute()}. Make room "
            "there, or give another place with --work-dir."
        )


def moments(group: dict) -> int:
    """How many values an optimiser of torch keeps for each parameter of a group: SGD's momentum, Adam's two or three."""
    return 2 + bool(group.get("amsgrad")) if "betas" in group else int(bool(group.get("momentum")))


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.2g} GB"


def fast_forward(iterator, updates: int) -> None:
    """Sets MMEngine's endless iterator to where it is after so many updates."""
    loader = iterator._dataloader
    iterator._epoch, loader.batch_sampler.skip = divmod(updates, len(loader))
    loader.batch_sampler.sampler.set_epoch(iterator._epoch)
    iterator._iterator = None
