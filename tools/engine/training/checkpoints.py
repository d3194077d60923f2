"""Read and find the checkpoints of a run, refuse those of another run, and check that the disk has room for them."""

import pickle
import shutil
from pathlib import Path
from zipfile import is_zipfile

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from backbones.common.files import check_archive, read_json
from backbones.tensors import check_names, check_values
from tools.engine.config import RunKey, task_of
from tools.engine.config.run_key import difference_text
from tools.engine.run_folder import CHECKPOINT, RUNS, checkpoints_in, expected_key, read_content, read_record

RUN = "run_key"  # where a checkpoint has the key of its run


def check_checkpoint(path: Path) -> dict:
    """Load ``path`` and check that it is a whole checkpoint: a dict of tensors and plain values that has a state dict.

    MMEngine would unpickle what torch refuses to load without code, and unpickling runs that code.

    Raises:
        ValueError: the file is missing, damaged, no zip archive, holds Python objects besides tensors, or has no state dict.
    """
    if not path.exists():
        raise ValueError(f"There is no checkpoint {path}; give the path of a file.")
    try:
        check_archive(path)
        if not is_zipfile(path):
            raise ValueError("it is no zip archive, as torch writes it")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} holds Python objects besides tensors; it is not loaded, since that would run its code. Use another "
            "checkpoint."
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be read as a checkpoint ({lines[0]}). Use another one.") from None
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} is no checkpoint of a run (it has no state_dict of tensors). Use another one.")
    return checkpoint


def check_fit(path: str | Path, model: torch.nn.Module) -> None:
    """Check that a checkpoint holds exactly the tensors of a model, with finite values.

    MMEngine only warns about tensors that do not fit, and goes on with random ones.

    Raises:
        ValueError: see ``check_checkpoint``; or a tensor is missing, left over, of another shape, NaN or infinite.
    """
    state = check_checkpoint(Path(path))["state_dict"]
    model = model.module if is_model_wrapper(model) else model
    weights = {name.removeprefix("module."): tensor for name, tensor in state.items()}  # as MMEngine reads them
    try:
        check_names(str(path), weights, model.state_dict(), f"the {type(model).__name__} of this config")
    except ValueError as error:
        raise ValueError(f"{error} Use a checkpoint of this config.") from None
    check_values(str(path), weights, model.state_dict())


def updates_in(path: Path) -> int:
    """Return the number of updates after which a run wrote the checkpoint ``path``.

    Raises:
        ValueError: see ``check_checkpoint``, or the file does not say it.
    """
    checkpoint = check_checkpoint(path)
    meta = checkpoint.get("meta")
    update = meta.get("iter") if isinstance(meta, dict) else None
    if not isinstance(update, int):
        raise ValueError(f"{path} is no checkpoint of a run. Use another one.")
    return update


def last_checkpoint(folder: Path, unread: list[str] | None = None) -> Path | None:
    """Return the readable checkpoint of a run that has the most updates, or None if there is none.

    The number of updates is read from each file, because modification times do not survive a copy.

    Args:
        folder: the run's folder.
        unread: a list to which the names of unreadable checkpoints are appended.
    """
    last_path, last_update = None, 0
    unread = [] if unread is None else unread
    files = checkpoints_in(folder)
    unread += sorted({path.name for path in folder.glob("*.pth") if CHECKPOINT.fullmatch(path.name)} - {f.name for f in files})
    for path in sorted(files, key=lambda path: path.stat().st_mtime):
        try:
            update = updates_in(path)
        except ValueError:
            unread.append(path.name)
            continue
        if last_path is None or update >= last_update:
            last_path, last_update = path, update
    return last_path


def check_expected(key: RunKey, expected: str | None) -> None:
    """Raise ValueError if a launcher expects another key than that of this run; name both, and what differs if it is known."""
    if expected is None:
        return
    path = expected_key(RUNS / expected)
    if expected == key.name:
        path.unlink(missing_ok=True)
        return
    content = read_json(path) if path.is_file() else read_content(RUNS / expected)
    raise ValueError(
        f"This would be the run {key}, and {expected} is expected{difference_text(content, key.content)}. Something has changed "
        "since the run was planned, or this host differs from the one that planned it; start the study again."
    )


def check_folder(folder: Path, key: RunKey) -> None:
    """Raise ValueError if ``folder`` holds another run than that of ``key``, finished or not; name both keys and what differs."""
    record, content = read_record(folder), read_content(folder)
    other = (record or {}).get("key") or (RunKey.of(content).name if content else key.name)
    if other != key.name:
        raise ValueError(
            f"{folder} holds {'the finished' if record else 'the'} run {other}, and this run is {key}"
            f"{difference_text(content, key.content)}. Choose another --work-dir, or remove that folder."
        )


def check_resumed(checkpoint: Path, key: RunKey) -> None:
    """Raise ValueError unless the run of ``key`` wrote ``checkpoint``; name both keys, and what differs if it is known."""
    other = run_of(checkpoint)
    if other is None:
        raise ValueError(
            f"{checkpoint} does not say which run wrote it, so it is not resumed: an older version or another program wrote it. "
            "Start the run over with --restart, or choose another --work-dir."
        )
    if other != key.name:
        contents = [content for folder in (checkpoint.parent, RUNS / other) if (content := read_content(folder))]
        content = next((content for content in contents if RunKey.of(content).name == other), None)
        raise ValueError(
            f"{checkpoint} is of the run {other}, and this run is {key}{difference_text(content, key.content)}. Resume it with "
            "the options of its run, or choose another --work-dir."
        )


def check_tested(checkpoint: Path, config: str, run: str) -> None:
    """Raise ValueError unless the run that dumped ``config`` wrote ``checkpoint``."""
    other = run_of(checkpoint)
    if other != run:
        writer = f"is of the run {other}" if other else "does not say which run wrote it"
        raise ValueError(
            f"{checkpoint} {writer}, and {config} is of the run {run}; give the config.py and a checkpoint of one run."
        )


def run_of(checkpoint: Path) -> str | None:
    """Return the key of the run that wrote ``checkpoint``; None if the file does not say."""
    name = check_checkpoint(checkpoint).get(RUN)
    return name if isinstance(name, str) else None


def check_room(runner: Runner) -> None:
    """Refuse to start a run if the disk has too little room for its files.

    A run needs room for two checkpoints, one of which is being written, and a pretraining also for its card. Checkpoints that
    are in the folder already count as free, because new ones replace them.

    Raises:
        ValueError: too little is free; the message says how much is needed.
    """
    folder, pretrains = Path(runner.work_dir), task_of(runner.cfg).STAGE == "pretrain"
    weights = sum(tensor.nbytes for tensor in runner.model.state_dict().values())
    groups = runner.optim_wrapper.optimizer.param_groups
    checkpoint = weights + sum(moments(group) * sum(p.nbytes for p in group["params"] if p.requires_grad) for group in groups)
    need, files = 2 * checkpoint, f"2 checkpoints of {gigabytes(checkpoint)}"
    if pretrains:
        need, files = need + weights, f"{files} and a card of {gigabytes(weights)}"
    free = shutil.disk_usage(folder).free + sum(path.stat().st_size for path in checkpoints_in(folder))
    if free < need:
        raise ValueError(
            f"The run needs about {gigabytes(need)}: {files}; {gigabytes(free)} are free at {folder.absolute()}. Make room "
            "there or choose another folder with --work-dir."
        )


def moments(group: dict) -> int:
    """Return how many values a torch optimiser keeps for each parameter of ``group``: SGD 0 or 1 (momentum), Adam 2 or 3."""
    if "betas" in group:
        return 3 if group.get("amsgrad") else 2
    return 1 if group.get("momentum") else 0


def gigabytes(count: int) -> str:
    """Format a number of bytes in GB (1e9 bytes)."""
    return f"{count / 1e9:.2g} GB"
