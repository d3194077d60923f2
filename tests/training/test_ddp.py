"""Check that several processes (gloo on a CPU) train and test as one does, stop together, and end when one of them dies."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.atomic import forked
from tests.helpers.exact import CLASSIFIER, DETECTOR, SEGMENTER, config
from tests.helpers.networks import ROOT
from tools.engine.run_folder import CURVE, read_curve
from tools.engine.training.checkpoints import last_checkpoint
from tools.engine.training.run import build_runner
from tools.engine.training.runner import end_workers

PER_IMAGE = {CLASSIFIER: "ranks.npz", DETECTOR: "detections.npz", SEGMENTER: "confusion.npz"}
PROCESSES = {"one": 1, "two": 2}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def in_two_processes(function, cfg) -> None:
    """Call ``function(cfg)`` in the two processes of one group; both must exit with status 0."""
    port, pids = free_port(), []
    cfg.launcher = "pytorch"

    def work(rank: int) -> None:
        os.environ |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        try:
            function(cfg)
            torch.distributed.destroy_process_group()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()

    for rank in range(2):
        pids.append(forked(work, rank))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]


def trained(cfg) -> None:
    runner = build_runner(cfg)
    try:
        runner.train()
    finally:
        end_workers(runner)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "tolerance"), [(False, 1e-6), (True, 1e-5)])
def test_two_processes_train_as_one_with_the_same_batch(toy_root, tmp_path, monkeypatch, norm, tolerance):
    """Let one process accumulate the micro-batches of the two, which take every second image each, so that BN sees the same."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.setattr(
        "classification.model.micro_batches",
        lambda data, size: [
            {k: v[i :: len(data["labels"]) // size] for k, v in data.items()} for i in range(len(data["labels"]) // size)
        ],
    )
    curves, weights = [], []
    for name in ("one", "two"):
        cfg = config(CLASSIFIER, tmp_path / name, processes=PROCESSES[name], batch=4, micro_batch=2)
        cfg.model.backbone = dict(type="tests.helpers.batch.TwoConvolutions", norm=norm)
        if name == "one":
            trained(cfg)
        else:
            in_two_processes(trained, cfg)
        curves.append([line["loss"] for line in read_curve(tmp_path / name / CURVE)])
        weights.append(torch.load(last_checkpoint(tmp_path / name), weights_only=True)["state_dict"])
    assert len(curves[0]) == 8
    np.testing.assert_allclose(*curves, rtol=0, atol=tolerance)
    for name, value in weights[0].items():
        if (
            "running" not in name and "num_batches" not in name
        ):  # of two processes it is the mean over them, of one it is updated by micro-batch
            torch.testing.assert_close(value, weights[1][name], rtol=0, atol=tolerance)


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
            in_two_processes(evaluated, cfg)
        arrays = dict(np.load(tmp_path / name / PER_IMAGE[path]))
        results.append((json.loads((tmp_path / name / "metrics.json").read_text()), {k: v.tolist() for k, v in arrays.items()}))
    assert results[0] == results[1]
    if path == CLASSIFIER:
        assert len(results[0][1]["rank"]) == 9


SMALL = ["batch=4", "micro_batch=2", "epochs=15", "num_workers=1", "model.backbone.base_channels=4"]


def launch(folder: Path, root: Path) -> subprocess.Popen:
    """Start the two processes of one run by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", ROOT / "tools/train.py"]
    command += ["configs/classification/resnet50_toy.py", "--launcher", "pytorch", "--work-dir", folder, "--resume"]
    command += ["--tricks", "resnet_d", "mixup:schedule=same", "--cfg-options", *SMALL]
    with open(folder.with_suffix(".txt"), "a") as out:
        env = os.environ | {"DATA_ROOT": str(root)}
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
    assert process.wait(60) != 0 and not processes_of(run)
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
    assert process.wait(60) != 0
    end = time.time() + 60
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
