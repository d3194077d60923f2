"""Keep the memory that a run frees in its process, and check that there is enough to share among processes."""

import ctypes
import os
import pickle
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


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


SHARED = Path("/dev/shm")  # where Linux keeps shared memory; a container has 64 MB there unless it is given more
SAMPLES = 4  # samples that are read to see how large a batch is


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
