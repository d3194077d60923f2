"""Check that several processes (gloo on a CPU) train and test as one does, stop together, and end when one of them dies."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.atomic import forked
from tests.helpers.exact import CLASSIFIER, DETECTOR, SEGMENTER, config, trained
from tests.helpers.networks import ROOT
from tools.engine.run_folder import CURVE, read_curve
from tools.engine.training.building import build_runner
from tools.engine.training.checkpoints import last_checkpoint
from tools.engine.training.runner import end_workers

PER_IMAGE = {CLASSIFIER: "ranks.npz", DETECTOR: "detections.npz", SEGMENTER: "confusion.npz"}
PROCESSES = {"one": 1, "two": 2}
TWO_CONVOLUTIONS = dict(type="tests.helpers.batch.TwoConvolutions", norm=True)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def in_processes(count: int, function, cfg) -> None:
    """Call ``function(cfg)`` in the ``count`` processes of one group; all must exit with status 0."""
    port, pids = free_port(), []
    cfg.launcher = "pytorch"

    def work(rank: int) -> None:
        os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1")
        os.environ["MASTER_PORT"] = str(port)
        try:
            function(cfg)
            torch.distributed.destroy_process_group()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()

    for rank in range(count):
        pids.append(forked(work, rank))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * count


@pytest.fixture
def folder_of(toy_root, tmp_path, monkeypatch):
    """Return ``folder_of(count)``, which makes a data root whose training set has that many images, and sets DATA_ROOT to it."""

    def make(count: int) -> None:
        root = tmp_path / f"{count}_images/toy/imagenet"
        shutil.copytree(toy_root / "imagenet/val", root / "val")
        images = sorted((toy_root / "imagenet/train").rglob("*.*"))
        for i in range(count):
            image = images[(i * 2 + i // 8) % len(images)]  # there are two of each class
            (root / "train" / image.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(image, root / "train" / image.parent.name / f"{i}{image.suffix}")
        monkeypatch.setenv("DATA_ROOT", str(root.parents[1]))

    return make


@pytest.fixture
def teacher(make_card) -> str:
    """Return the folder of a card with a classifier."""
    rng = torch.Generator().manual_seed(0)
    return str(make_card(classifier={"weight": torch.randn(8, 256, generator=rng) / 16, "bias": torch.zeros(8)}).path)


def trained_in_double(cfg) -> None:
    """Train in float64, where rounding stays small for longer."""
    cfg.model.data_preprocessor.type = "tests.helpers.batch.DoublePreprocessor"
    torch.set_default_dtype(torch.float64)
    try:
        trained(cfg)
    finally:
        torch.set_default_dtype(torch.float32)


def train_in(processes: int, folder: Path, backbone: dict | None = None, dropout: float = 0.0, double: bool = False, **values):
    """Train a toy classifier in so many processes; return the loss of each update, and the weights and buffers at the end."""
    cfg = config(CLASSIFIER, folder, processes=processes, batch=8, **values)
    cfg.model.backbone, cfg.model.dropout = backbone or cfg.model.backbone, dropout
    train = trained_in_double if double else trained
    train(cfg) if processes == 1 else in_processes(processes, train, cfg)
    losses = [line["loss"] for line in read_curve(folder / CURVE)]
    return losses, torch.load(last_checkpoint(folder), weights_only=True)["state_dict"]


def assert_trained_alike(runs: list) -> None:
    """Compare losses, weights and buffers of runs with those of the first, to 1e-5."""
    (losses, weights), *others = runs
    assert len(set(losses)) == len(losses) > 0
    for other_losses, other_weights in others:
        np.testing.assert_allclose(losses, other_losses, rtol=0, atol=1e-5)
        assert weights.keys() == other_weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(
                value, other_weights[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.slow
@pytest.mark.parametrize(("count", "processes"), [(39, (1, 2, 4)), (40, (1, 2)), (43, (1, 4))])
def test_several_processes_train_as_one_does(folder_of, tmp_path, count, processes):
    """Include BN's running statistics, and sets that are no multiple of the batch."""
    folder_of(count)
    runs = [train_in(n, tmp_path / f"{n}", TWO_CONVOLUTIONS, micro_batch=2) for n in processes]
    assert len(runs[0][0]) == 2 * (count // 8)  # two epochs of whole batches
    assert_trained_alike(runs)
    assert runs[0][1]["backbone.bn.num_batches_tracked"] == 2 * (count // 8)


@pytest.mark.slow
def test_several_processes_draw_the_same_mixup_and_dropout_and_distil_the_same(folder_of, tmp_path, teacher):
    folder_of(39)
    tricks = [("mixup", {"schedule": "same"}), "label_smoothing", ("distillation", {"teacher": teacher, "temperature": 2.0})]
    options = dict(dropout=0.3, micro_batch=2, tricks=tricks)
    assert_trained_alike([train_in(n, tmp_path / f"{n}", TWO_CONVOLUTIONS, **options) for n in (1, 2, 4)])


@pytest.mark.slow
def test_two_processes_train_a_resnet_as_one_does(folder_of, tmp_path):
    folder_of(39)
    assert_trained_alike([train_in(n, tmp_path / f"{n}", micro_batch=4, tricks=["resnet_d", "cosine"]) for n in (1, 2)])


@pytest.mark.slow
def test_four_processes_train_a_resnet_on_many_micro_batches_as_one_does(folder_of, tmp_path):
    """In float64, for four updates: BN over two images multiplies rounding a thousandfold in each."""
    folder_of(39)
    options = dict(micro_batch=2, epochs=1, tricks=["resnet_d", "cosine"], double=True)
    assert_trained_alike([train_in(n, tmp_path / f"{n}", **options) for n in (1, 2, 4)])


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 2)])
def test_a_run_resumed_in_mid_epoch_with_another_number_of_processes_goes_on_alike(folder_of, tmp_path, before, after):
    folder_of(39)
    whole = train_in(1, tmp_path / "whole", TWO_CONVOLUTIONS, micro_batch=2)
    for processes, hooks, last in (
        (before, [dict(type="tests.helpers.exact.SaveAndStop", after=3)], "iter_3"),
        (after, [], "epoch_2"),
    ):
        cfg = config(CLASSIFIER, tmp_path / "again", processes=processes, batch=8, micro_batch=2)
        cfg.model.backbone, cfg.custom_hooks = TWO_CONVOLUTIONS, [*cfg.custom_hooks, *hooks]
        work = partial(trained, resume=not hooks)
        work(cfg) if processes == 1 else in_processes(processes, work, cfg)
        assert last_checkpoint(tmp_path / "again").name == f"{last}.pth"
    weights = torch.load(last_checkpoint(tmp_path / "again"), weights_only=True)["state_dict"]
    assert_trained_alike([whole, (whole[0], weights)])


@pytest.fixture(scope="module")
def odd_root(toy_root, tmp_path_factory) -> Path:
    """Return the synthetic data with an odd number of test images in each task: 9, 3 and 3."""
    root = tmp_path_factory.mktemp("odd") / "toy"
    shutil.copytree(toy_root, root)
    image = next((root / "imagenet/val").rglob("*.[jpJP]*[gG]"))
    shutil.copy(image, image.with_stem(image.stem + "b"))
    for folder in ("images", "annotations"):
        path = sorted((root / f"ADEChallengeData2016/{folder}/validation").iterdir())[0]
        shutil.copy(path, path.with_stem("ADE_val_00009999"))
    return root.parent


def evaluated(cfg) -> None:
    runner = build_runner(cfg)
    try:
        metrics = runner.test()
    finally:
        end_workers(runner)
    if runner.rank == 0:
        (Path(cfg.work_dir) / "metrics.json").write_text(json.dumps({k: float(v) for k, v in metrics.items()}))


@pytest.mark.slow
@pytest.mark.parametrize("path", PER_IMAGE)
def test_two_processes_test_as_one_and_count_no_image_twice(odd_root, tmp_path, monkeypatch, path):
    monkeypatch.setenv("DATA_ROOT", str(odd_root))
    monkeypatch.chdir(tmp_path)
    results, batch = [], dict(micro_batch=1) if path == CLASSIFIER else {}
    for name in ("one", "two"):
        cfg = config(path, tmp_path / name, processes=PROCESSES[name], **batch)
        cfg.load_from = str(tmp_path / "weights.pth")
        if name == "one":
            (tmp_path / "one").mkdir()  # TopK and others write there
            runner = build_runner(config(path, tmp_path / "made", **batch))
            torch.save({"state_dict": runner.model.state_dict(), "meta": {}}, tmp_path / "weights.pth")
            evaluated(cfg)
        else:
            in_processes(2, evaluated, cfg)
        arrays = dict(np.load(tmp_path / name / PER_IMAGE[path]))
        results.append((json.loads((tmp_path / name / "metrics.json").read_text()), {k: v.tolist() for k, v in arrays.items()}))
    assert results[0] == results[1]
    if path == CLASSIFIER:
        assert len(results[0][1]["rank"]) == 9


SMALL = ["batch=4", "micro_batch=2", "epochs=15", "num_workers=2", "model.backbone.base_channels=4"]


def launch(folder: Path, root: Path) -> subprocess.Popen:
    """Start the two processes of one run by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", ROOT / "tools/train.py"]
    command += ["configs/classification/resnet50_toy.py", "--launcher", "pytorch", "--work-dir", folder]
    command += ["--tricks", "resnet_d", "mixup:schedule=same", "--cfg-options", *SMALL]
    with open(folder.with_suffix(".txt"), "a") as out:
        env = os.environ | {"DATA_ROOT": str(root), "TRICKTRANSFER_DEVICE": "cpu"}
        return subprocess.Popen(list(map(str, command)), env=env, cwd=folder.parent, stdout=out, stderr=subprocess.STDOUT)


def processes_of(folder: Path) -> dict[int, int]:
    """Return the processes of a run, including launcher and loaders: {pid: rank or -1}."""
    ranks = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in (path / "cmdline").read_text().split("\0"):
                env = dict(pair.partition("=")[::2] for pair in (path / "environ").read_text().split("\0"))
                ranks[int(path.name)] = int(env.get("RANK", -1))
        except OSError:
            continue
    return ranks


def wait_for(folder: Path, process: subprocess.Popen, epoch: int) -> None:
    while not any(int(path.stem.split("_")[1]) >= epoch for path in folder.glob("epoch_*.pth")):
        assert process.poll() is None, folder.with_suffix(".txt").read_text()[-3000:]
        time.sleep(0.02)


@pytest.mark.slow
def test_processes_stop_together_and_none_outlives_another(toy_root, tmp_path):
    """Stop a run by a signal, resume it, kill one process, and resume again: it equals the undisturbed run, BN too."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert launch(whole, toy_root.parent).wait() == 0, whole.with_suffix(".txt").read_text()[-3000:]
    process = launch(run, toy_root.parent)
    wait_for(run, process, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) != 0 and not processes_of(run)
    stopped = list(run.glob("iter_*.pth"))
    assert len(stopped) == 1 and last_checkpoint(run) == stopped[0], run.with_suffix(".txt").read_text()[-3000:]
    ranks = torch.load(stopped[0], weights_only=True)["ranks"]
    assert len(ranks) == 2
    assert "Stopped by a signal after update" in run.with_suffix(".txt").read_text()

    process = launch(run, toy_root.parent)
    wait_for(run, process, int(stopped[0].stem.split("_")[1]) // 4 + 2)
    (victim,) = [
        pid
        for pid, rank in processes_of(run).items()
        if rank == 1 and Path(f"/proc/{pid}/stat").read_text().split()[3] == str(process.pid)
    ]
    os.kill(victim, signal.SIGKILL)
    assert process.wait(180) != 0
    end = time.time() + 180
    while processes_of(run):
        assert time.time() < end, f"left behind: {processes_of(run)}"
        time.sleep(0.2)
    assert not (run / "record.json").exists()

    assert launch(run, toy_root.parent).wait() == 0, run.with_suffix(".txt").read_text()[-3000:]
    records = [json.loads((folder / "record.json").read_text()) for folder in (whole, run)]
    assert records[0]["metrics"] == records[1]["metrics"] and records[1]["resumed_from"]
    states = [torch.load(last_checkpoint(folder), weights_only=True)["state_dict"] for folder in (whole, run)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert read_curve(whole / CURVE) == read_curve(run / CURVE)
