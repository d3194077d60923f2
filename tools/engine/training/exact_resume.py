"""Resume a run exactly: the hook that seeds each update, restores each process's state and continues in mid-epoch."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook

from backbones.randomness import seed_everything, seed_of
from tools.engine.run_folder import checkpoints_in
from tools.engine.training.checkpoints import RUN, check_room
from tools.engine.training.hooks import all_reduce_max
from tools.engine.training.starting import check_shared_memory


class ExactHook(Hook):
    """Seed each update, continue in the middle of an epoch after a resume, and save the state of each process.

    A checkpoint has MMEngine's keys, the key of its run, and ``ranks``: for each process, what ``state`` of its hooks returns
    (plain values and tensors). If the resumed run has as many processes, each hook gets its state back through ``restore``. The
    state of this hook is the buffers: the running statistics of BN, which differ among processes within an epoch. The weights of
    the checkpoint hold their mean, as after an epoch, for a test, a card or another number of processes.
    """

    priority = "VERY_HIGH"

    def __init__(self):
        self.skipped_updates = 0  # trained before this process resumed; set to 0 once the first epoch begins

    def before_train(self, runner) -> None:
        check_room(runner)
        check_shared_memory(runner.train_dataloader)
        loop = runner.train_loop
        first, last = all_reduce_max(-runner.iter, runner.iter)
        if -first != last:
            raise ValueError(
                f"The processes of this run resume from different updates, {-first:.0f} to {last:.0f}. Check that all of them "
                "see the same run folder."
            )
        self.skipped_updates = runner.iter
        if not runner._resume and is_main_process():
            for path in checkpoints_in(Path(runner.work_dir)):  # of an earlier start of this run
                path.unlink()
        if hasattr(loop, "dataloader_iterator"):  # training by updates: do not read again what was already trained on
            loop.dataloader_iterator.skip_iter = lambda updates: fast_forward(loop.dataloader_iterator, updates)

    def before_train_epoch(self, runner) -> None:
        if self.skipped_updates and not hasattr(runner.train_loop, "dataloader_iterator"):
            loader = runner.train_dataloader
            loader.batch_sampler.skip = self.skipped_updates - runner.epoch * len(loader)
        self.skipped_updates = 0

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        seed_everything(seed_of(runner.seed, "update", runner.iter, get_rank()), cuda=True)

    def state(self, runner) -> dict[str, torch.Tensor]:
        """Return this process's buffers by name; nothing if the run has one process, whose buffers are in ``state_dict``."""
        if get_world_size() == 1:
            return {}
        return {name: buffer.cpu() for name, buffer in runner.model.module.named_buffers()}

    def restore(self, runner, state: dict[str, torch.Tensor], checkpoint: dict) -> None:
        """Put this process's buffers into the weights of ``checkpoint``, which MMEngine loads next."""
        weights = checkpoint["state_dict"]
        weights.update((name, buffer) for name, buffer in state.items() if name in weights)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        # MMEngine's history of logged values consists of Python objects, and only its log lines need it.
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
        checkpoint[RUN] = runner.cfg.get("run")
        checkpoint["ranks"] = runner.states
        average_buffers(checkpoint["state_dict"], [state[type(self).__name__] for state in runner.states])
        checkpoint["seconds"] = runner.seconds()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        runner.spent = checkpoint.get("seconds", 0.0)
        states = checkpoint.get("ranks", ())
        if len(states) == get_world_size():
            for hook in runner.hooks:
                if (name := type(hook).__name__) in states[get_rank()]:
                    hook.restore(runner, states[get_rank()][name], checkpoint)

    def after_train(self, runner) -> None:
        if is_main_process():
            runner.keep_last()


def average_buffers(weights: dict[str, torch.Tensor], states: Sequence[dict[str, torch.Tensor]]) -> None:
    """Set each buffer in ``weights``, in place, to its mean over ``states``, one per process; empty ones change nothing."""
    for name in states[0]:
        if name in weights and weights[name].is_floating_point():
            weights[name] = torch.stack([state[name] for state in states]).mean(0)


def fast_forward(iterator, updates: int) -> None:
    """Move MMEngine's endless iterator to where it is after ``updates`` updates."""
    loader = iterator._dataloader
    iterator._epoch, loader.batch_sampler.skip = divmod(updates, len(loader))
    loader.batch_sampler.sampler.set_epoch(iterator._epoch)
    iterator._iterator = None
