"""Check that files are written whole or not at all: on a full disk, under a kill at any moment, and by two writers at once."""

import json
import os
import random
import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch.utils.data import DataLoader

from backbones import BackboneCard
from backbones.common.files import PART, atomic, atomic_folder, remove_parts, write_json, write_npz, write_text
from tests.helpers.atomic import forked
from tools.engine.training.checkpoints import check_checkpoint, check_room, last_checkpoint, moments
from tools.engine.training.runner import ExactRunner


class Numbers(BaseModel):
    """Hold ``width`` weights, and four more, and compute nothing."""

    def __init__(self, width: int):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.zeros(n)) for n in (width, 4))

    def forward(self, *args, **kwargs):
        return {}


def make_runner(folder: Path, width: int = 10) -> ExactRunner:
    """Return a runner that can save its weights in ``folder``."""
    model = Numbers(width)
    return ExactRunner(
        model,
        str(folder),
        DataLoader([0]),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)),
        default_hooks=dict(logger=None, checkpoint=None, runtime_info=None),
        custom_hooks=[dict(type="tools.engine.training.exact_resume.ExactHook")],
        cfg=dict(task="classification"),
        log_level="ERROR",
        experiment_name=f"numbers-{time.time_ns()}",
    )


def parts(folder: Path) -> list[str]:
    """Return the names of the hidden files in ``folder``: those that are being written."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path, error):
    write_text(tmp_path / "a.txt", "whole")
    with pytest.raises(type(error)):
        with atomic(tmp_path / "a.txt") as file:
            file.write("half")
            raise error
    assert (tmp_path / "a.txt").read_text() == "whole" and parts(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_and_folders_get_the_mode_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "x")
        with atomic_folder(tmp_path / "card") as part:
            (part / "b.txt").write_text("x")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a.txt", "card", "card/b.txt")]
    assert modes == [0o666 & ~mask, 0o777 & ~mask, 0o666 & ~mask]


def test_each_file_is_synced_before_its_name_and_the_name_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda part, path: (calls.append(f"-> {Path(path).name}"), replace(part, path)))
    runner = make_runner(tmp_path)
    writers = {
        "a.txt": lambda path: write_text(path, "x"),
        "a.json": lambda path: write_json(path, {}),
        "a.npz": lambda path: write_npz(path, x=[1]),
        "epoch_1.pth": lambda path: runner.save_checkpoint(str(path.parent), path.name),
    }
    for name, write in writers.items():
        calls.clear()
        write(tmp_path / name)
        file, arrow, folder = calls
        assert Path(file).name.startswith(f".{name}.") and file.endswith(PART)
        assert (arrow, Path(folder)) == (f"-> {name}", tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_a_folder_is_replaced_as_a_whole(tmp_path, monkeypatch, fails):
    (tmp_path / "card").mkdir()
    (tmp_path / "card/a").write_text("old")
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle)))
    replace = os.replace

    def renamed(source, target) -> None:
        if fails and Path(target).name == "card" and (Path(source) / "b").exists():
            raise OSError("no room for a name")
        replace(source, target)

    monkeypatch.setattr(os, "replace", renamed)
    try:
        with atomic_folder(tmp_path / "card") as part:
            (part / "a").write_text("new")
            (part / "b").write_text("new")
    except OSError:
        assert fails
    texts = {path.name: path.read_text() for path in (tmp_path / "card").iterdir()}
    assert texts == ({"a": "old"} if fails else {"a": "new", "b": "new"})
    assert [path.name for path in tmp_path.iterdir()] == ["card"]
    assert [Path(path).name for path in synced[:2]] in (["a", "b"], ["b", "a"]) and Path(synced[2]).name.endswith(PART)


def test_files_that_a_kill_left_half_written_are_removed(tmp_path):
    for name in (".epoch_3.pth.x1y2.part", ".record.json.abc.part", "epoch_2.pth", ".hidden", "a.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".card.zzz.part").mkdir()
    (tmp_path / ".card.zzz.part/weights.safetensors").write_bytes(b"x")
    assert remove_parts(tmp_path) == [".card.zzz.part", ".epoch_3.pth.x1y2.part", ".record.json.abc.part"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.part", "epoch_2.pth"]
    assert remove_parts(tmp_path / "none") == []


def fill_up(folder: Path, limit: int, out: int) -> None:
    """Overwrite a checkpoint, a record and a card with files limited to ``limit`` bytes; write a line on each to ``out``."""
    runner, card = make_runner(folder, width=10_000), BackboneCard.load(folder / "card")
    runner.last = "epoch_1.pth"
    card.weights = {name: value + 1 for name, value in card.weights.items()}
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the system kills the process, which a full disk does not
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for write in (
        lambda: runner.save_checkpoint(str(folder), "epoch_2.pth"),
        lambda: write_json(folder / "record.json", {"status": "x" * 100_000}),
        lambda: card.save(folder / "card"),
    ):
        try:
            write()
        except Exception as error:
            os.write(out, f"{type(error).__name__} {str(error).splitlines()[0]}\n".encode())
        else:
            os.write(out, b"written\n")


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 1000, 5000])
def test_a_full_disk_destroys_no_good_file(tmp_path, make_card, limit):
    write_json(tmp_path / "record.json", {"status": "good"})
    make_runner(tmp_path).save_checkpoint(str(tmp_path), "epoch_1.pth")
    old = make_card().weights
    pipe, out = os.pipe()
    pid = forked(fill_up, tmp_path, limit, out)
    os.close(out)
    os.waitpid(pid, 0)
    checkpoint, record, card = open(pipe).read().splitlines()
    assert checkpoint == (
        f"ValueError {tmp_path}/epoch_2.pth could not be written (File too large); the last good checkpoint is epoch_1.pth. "
        "Make room there, and the same command goes on."
    )
    assert "written" not in (record, card)
    assert json.loads((tmp_path / "record.json").read_text()) == {"status": "good"}
    assert last_checkpoint(tmp_path).name == "epoch_1.pth" and not (tmp_path / "epoch_2.pth").exists()
    weights = BackboneCard.load(tmp_path / "card").weights
    assert weights.keys() == old.keys() and all(torch.equal(weights[name], old[name]) for name in old)
    assert [name for name in parts(tmp_path) if name.endswith(PART)] == []


def write_for_ever(runner, folder: Path, start: int, names: list[str]) -> None:
    """Save checkpoints under ``names`` in turn; all weights of a checkpoint have one value, which counts up from ``start``."""
    for i in range(start, start + 10_000):
        for parameter in runner.model.parameters():
            parameter.data.fill_(i)
        runner.save_checkpoint(str(folder), names[i % len(names)])


def values_in(path: Path) -> set[float]:
    """Return the values of all weights in the checkpoint ``path``."""
    state = check_checkpoint(path)["state_dict"]
    return {value for tensor in state.values() for value in tensor.unique().tolist()}


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_checkpoints(tmp_path):
    rng, left = random.Random(0), 0
    runner = make_runner(tmp_path, width=100_000)
    for kill in range(50):
        pid = forked(write_for_ever, runner, tmp_path, 10_000 * kill, ["epoch_1.pth", "epoch_2.pth"])
        while not (parts(tmp_path) and (kill or list(tmp_path.glob("*.pth")))):  # until it writes a file, but not the very first
            pass
        time.sleep(rng.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        left += bool(parts(tmp_path))
        values = [values_in(path) for path in tmp_path.glob("*.pth")]
        assert values and all(len(unique) == 1 for unique in values), f"a checkpoint mixes two versions after kill {kill}"
        assert last_checkpoint(tmp_path)
        remove_parts(tmp_path)
        assert parts(tmp_path) == []
    assert left >= 5  # some kills did interrupt a write


@pytest.mark.slow
def test_two_writers_of_one_name_leave_one_whole_version(tmp_path):
    runner = make_runner(tmp_path, width=100_000)
    pids = [forked(write_for_ever, runner, tmp_path, start, ["epoch_1.pth"]) for start in (0, 50_000)]
    seen = set()
    while not (seen and min(seen) < 50_000 <= max(seen)):  # until both writers were seen
        for path in tmp_path.glob("*.pth"):
            values = values_in(path)
            assert len(values) == 1
            seen |= values
    for pid in pids:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(("optimiser", "copies"), [("SGD", 2), ("Adam", 3), ("no momentum", 1)])
def test_a_run_without_room_does_not_start(tmp_path, monkeypatch, optimiser, copies):
    """Use 4 MB of weights: with Adam's two moments a checkpoint has 12 MB; a pretraining needs two checkpoints and a card."""
    runner = make_runner(tmp_path, width=1_000_000)
    weights = list(runner.model.parameters())
    make = dict(SGD=lambda: torch.optim.SGD(weights, 0.1, momentum=0.9), Adam=lambda: torch.optim.Adam(weights))
    runner.optim_wrapper.optimizer = make.get(optimiser, lambda: torch.optim.SGD(weights, 0.1))()
    nbytes = sum(p.nbytes for p in weights)
    need = (2 * copies + 1) * nbytes
    disk = SimpleNamespace(free=need)
    monkeypatch.setattr("tools.engine.training.checkpoints.shutil.disk_usage", lambda folder: disk)
    check_room(runner)
    disk.free -= 1
    message = (
        rf"needs about {need / 1e9:.2g} GB: 2 checkpoints of {copies * nbytes / 1e9:.2g} GB "
        rf"and a card of {nbytes / 1e9:.2g} GB; "
    )
    with pytest.raises(ValueError, match=message + rf"{(need - 1) / 1e9:.2g} GB are free at {tmp_path}\. Make room"):
        check_room(runner)
    (tmp_path / "epoch_1.pth").write_bytes(b"x")  # an existing checkpoint is one of the two
    check_room(runner)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam])
@pytest.mark.parametrize("options", [{}, dict(momentum=0.9), dict(amsgrad=True)])
def test_moments_counts_the_values_in_an_optimisers_state(make, options):
    parameter = torch.nn.Parameter(torch.ones(1000))
    try:
        optimiser = make([parameter], lr=0.1, **options)
    except TypeError:  # this optimiser lacks the option
        return
    parameter.sum().backward()
    optimiser.step()
    count = sum(v.numel() for v in optimiser.state[parameter].values() if torch.is_tensor(v) and v.numel() > 1)
    assert moments(optimiser.param_groups[0]) * 1000 == count
