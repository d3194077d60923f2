"""Prepare the start of a run: hold its folder, check its processes, card and memory, and set its threads."""

import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backbones.common.fact_cache import DEVICE
from backbones.resolving import TRANSFER_HOOK
from tools.engine.config import Resolved
from tools.engine.run_folder import (
    FAILED,
    LOCK,
    LOG,
    PROGRESS,
    RECORD,
    checkpoints_in,
    keep_log,
    locked,
    note_stop,
    put_log_out,
    refuse_odd,
    refuse_removed,
)
from tools.engine.stopping import Stopped

SHARED = Path("/dev/shm")  # where Linux keeps shared memory; a container has 64 MB there unless it is given more
SAMPLES = 4  # samples that are read to see how large a batch is


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock; remove a new folder if the code inside fails before the first update.

    The launcher's log, which moves into the folder, is moved out again before that.

    Raises:
        ValueError: another process holds the lock, a file of the run is not a file, or the folder was removed meanwhile.
    """
    refuse_odd(folder)
    parents = [path for path in folder.parents if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(f"{error.filename} is a file, so {folder} cannot be made; give another --work-dir.") from None
    with locked(folder):
        new = {path.name for path in folder.iterdir()} <= {LOCK, LOG, FAILED}
        keep_log(folder)
        try:
            yield
        except BaseException as error:
            refuse_removed(folder)
            started = any((folder / name).is_file() for name in (RECORD, PROGRESS)) or checkpoints_in(folder)
            if new and not started:
                put_log_out(folder)
                shutil.rmtree(folder, ignore_errors=True)
                for path in parents:
                    with suppress(OSError):  # another run has made something there meanwhile
                        path.rmdir()
            elif isinstance(error, Stopped):
                note_stop(folder)
            raise


def facts_of_run(resolved: Resolved, folder: Path) -> list[str]:
    """Return what a run trains, where it starts from and where it goes, each in a line for the console."""
    cfg = resolved.cfg
    if resolved.pretrains:
        origin = f"tricks: {', '.join(name for name, _ in cfg.get('tricks', [])) or 'none'}"
    else:
        origin = f"backbone: {cfg.backbone}"
    return [f"{cfg.task}: {cfg.network} at scale {cfg.scale}, seed {cfg.randomness.seed}", origin, f"folder: {folder}"]


def facts_of_data(runner, folder: str) -> str:
    """Return the data of a run, and how long it trains on which device, in lines for the console; this builds its datasets.

    Args:
        runner: MMEngine's, before it trains.
        folder: of the data.
    """
    import torch

    train, test = runner.train_loop.dataloader, runner.test_loop.dataloader
    threads = torch.get_num_threads()
    cpu = f"CPU with {threads} thread{'s' if threads > 1 else ''}"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    epochs = f"{runner.max_iters / len(train):.3g}"
    return (
        f"data: {folder}, {len(train.dataset):,} images to train on and {len(test.dataset):,} to test on\n"
        f"length: {epochs} epoch{'' if epochs == '1' else 's'}, {runner.max_iters:,} iterations of {runner.cfg.batch} images, "
        f"on {device}"
    )


def check_processes() -> None:
    """Refuse several processes of torchrun on a host that does not have a GPU for each, unless CPUs were asked for.

    Raises:
        ValueError: there are too few GPUs, or none and ``TRICKTRANSFER_DEVICE`` is not cpu.
    """
    import torch

    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if processes > 1 and gpus < processes and (gpus or os.environ.get(DEVICE) != "cpu"):
        on_cpus = "" if gpus else f", or set {DEVICE}=cpu to train on CPUs"
        raise ValueError(f"torchrun started {processes} processes, but this host has {gpus} GPUs; start one for each{on_cpus}.")


def set_threads(resolved: Resolved) -> None:
    """Give this process the threads that its key has, on a CPU: those of its config, else those of the machine."""
    import torch

    threads = resolved.cfg.get("threads") or resolved.machine.threads
    if not torch.cuda.is_available() and threads != torch.get_num_threads():
        torch.set_num_threads(threads)


def check_certificate(cfg) -> None:
    """Build and certify the backbone of a transfer with its card's weights, without the rest of the model.

    Raises:
        ValueError: see ``backbones.transfer.certificate.certify``.
    """
    for hook in cfg.custom_hooks:
        if hook["type"] == TRANSFER_HOOK:
            from backbones.transfer.certificate import certify_config

            certify_config(cfg, hook)


def check_shared_memory(loader) -> None:
    """Refuse to start if the batches that a loader's worker processes hold ready do not fit into shared memory.

    torch would fail, or wait for ever for a batch that a worker could not pass on.

    Args:
        loader: the training loader; a few of its samples are read.

    Raises:
        ValueError: too little is free; the message says how much is needed.
    """
    if not loader.num_workers or not SHARED.is_dir():
        return
    step = max(1, len(loader.dataset) // SAMPLES)
    largest = max(len(pickle.dumps(loader.dataset[i])) for i in range(0, len(loader.dataset), step))
    batches = loader.num_workers * (loader.prefetch_factor or 1) + 1
    need = largest * loader.batch_sampler.batches.batch_size * batches * int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    stat = os.statvfs(SHARED)
    free = stat.f_bavail * stat.f_frsize
    if free < need:
        raise ValueError(
            f"{loader.num_workers} loader workers need about {need / 1e6:.3g} MB of shared memory, and {SHARED} has "
            f"{free / 1e6:.3g} MB. Give the container more (docker run --shm-size 8g), or load with --cfg-options num_workers=0."
        )
