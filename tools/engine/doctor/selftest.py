"""Verify that this installation computes correctly on this machine and its GPU: ``tools/doctor.py --selftest``.

These are the parity checks of the tests that need no test data, and they take less than a minute: mmcv's operators against a
plain reference, metrics against known values, a stopped and resumed run against an undisturbed one, and the transfer
certificate.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from backbones import mmcv_ops  # noqa: F401  stands in for mmcv's compiled operators
from tools.engine.doctor.checks import Finding

REINSTALL = "pip install --force-reinstall -c constraints.txt -e ."
MEAN, STD = [123.68, 116.779, 103.939], [58.393, 57.12, 57.375]  # of the card in check_certificate


def selftest() -> list[Finding]:
    """Run all checks and return a finding for each. A check that does not hold, or fails, is WRONG."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [
        judged(f"NMS on {device}", lambda: check_nms(device)),
        judged(f"RoIAlign on {device}", lambda: check_roi_align(device)),
        judged("metrics", check_metrics),
        judged(f"exact resume on {device}", check_resume),
        judged(f"certificate on {device}", lambda: check_certificate(device)),
    ]


def judged(what: str, check: Callable[[], str]) -> Finding:
    """Run a check and return its finding.

    A check returns a sentence on its result, or raises AssertionError with a sentence on what does not hold.
    """
    logging.disable(logging.WARNING)
    try:
        return Finding(what, check())
    except AssertionError as error:
        return Finding(what, f"does not hold: {error}", REINSTALL)
    except Exception as error:  # a damaged installation raises anything
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding(what, f"fails: {type(error).__name__}: {first}", REINSTALL)
    finally:
        logging.disable(logging.NOTSET)


def check_nms(device: str, count: int = 200) -> str:
    """Check that mmcv's NMS keeps the same boxes as greedy NMS written from its definition."""
    from mmcv.ops import nms

    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 30, (count, 2))], 1).astype(np.float32)
    scores = (rng.permutation(count) / count).astype(np.float32)
    expected: list[int] = []
    for i in np.argsort(-scores):
        if all(overlap(boxes[i], boxes[k]) <= 0.5 for k in expected):
            expected.append(int(i))
    _, indices = nms(torch.from_numpy(boxes).to(device), torch.from_numpy(scores).to(device), 0.5)
    message = f"of {count} boxes it keeps {len(indices)}, and a plain NMS keeps {len(expected)} or other boxes"
    assert indices.tolist() == expected, message
    return f"keeps the same {len(expected)} of {count} boxes as a plain NMS"


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the IoU of two boxes x1, y1, x2, y2."""
    a, b = a.astype(float), b.astype(float)
    width, height = (max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def check_roi_align(device: str, size: int = 3) -> str:
    """Check RoIAlign on a plane a x + b y + c.

    RoIAlign is the mean of bilinear samples about the centre of each bin, so on a plane it returns the plane's value there.
    """
    from mmcv.ops import RoIAlign

    a, b, c = 0.5, -0.25, 3.0
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    rois = torch.tensor([[0, 8.0, 8, 56, 40], [0, 20.5, 12.25, 33, 37]])
    layer = RoIAlign(size, 0.5, 2, aligned=True, use_torchvision=True)
    features = layer((a * x + b * y + c)[None, None].to(device), rois.to(device)).cpu()[:, 0]
    bins = (torch.arange(size) + 0.5) / size  # the samples of a bin are spaced evenly about its centre
    expected = torch.stack(
        [
            a * (left + (right - left) * bins)[None, :] + b * (top + (bottom - top) * bins)[:, None] + c
            for left, top, right, bottom in rois[:, 1:] * 0.5 - 0.5
        ]
    )
    worst = float((features - expected).abs().max())
    assert worst < 1e-4, f"differs by {worst:.2g} from the mean of bilinear samples"
    return f"differs by {worst:.1e} at most from bilinear samples"


def check_metrics() -> str:
    """Check each metric on a set that is small enough to count by hand."""
    from classification.metrics import rank_of_truth, topk
    from detection.metrics import Boxes, mean_ap
    from segmentation.metrics import confusion, mean_iou, pixel_accuracy

    ranks = [rank_of_truth(np.array(scores), 0) for scores in ([3.0, 2, 1], [1.0, 2, 0], [1.0, 2, 3], [2.0, 2, 1])]
    values = {"top1": topk(ranks, 1), "top2": topk(ranks, 2)}
    # two true boxes of one class, three detections: hit, false alarm, hit. Precision 1 up to recall 1/2, then 2/3.
    truth = Boxes(np.zeros(2, int), np.array([[0, 0, 9, 9], [20, 20, 29, 29.0]]), np.zeros(2, int), difficult=np.zeros(2, bool))
    boxes = np.array([[0, 0, 9, 9], [50, 50, 59, 59], [20, 20, 29, 29.0]])
    detections = Boxes(np.zeros(3, int), boxes, np.zeros(3, int), score=np.array([0.9, 0.8, 0.7]))
    values |= {"AP": mean_ap(detections, truth, 1, "11-point"), "AP_area": mean_ap(detections, truth, 1, "area")}
    # 8 pixels: three of four of class 0 are right, two of three of class 1, and one is ignored
    matrix = confusion(np.array([0, 0, 0, 1, 1, 1, 0, 0]), np.array([0, 0, 0, 0, 1, 1, 1, 255], np.uint8), 2)
    values |= {"pixAcc": pixel_accuracy(matrix), "mIoU": mean_iou(matrix)}
    expected = {"top1": 50.0, "top2": 75.0, "AP": 100 * (6 + 5 * 2 / 3) / 11, "AP_area": 100 * (1 / 2 + 1 / 3)}
    expected |= {"pixAcc": 100 * 5 / 7, "mIoU": 100 * (3 / 5 + 2 / 4) / 2}
    for name, value in expected.items():
        assert abs(values[name] - value) < 1e-9, f"{name} is {values[name]:.6f}, but must be {value:.6f}"
    return f"{', '.join(expected)} are right on small sets counted by hand"


@contextmanager
def made_data() -> Iterator[Path]:
    """Yield a temporary folder, set as ``DATA_ROOT``, with the smallest synthetic dataset of each task and room for runs."""
    from tools.engine.toy_data.writer import ToySizes, make_toy

    before = os.environ.get("DATA_ROOT")
    with tempfile.TemporaryDirectory() as folder:
        sizes = ToySizes(2, 1, voc_train=1, voc_val=1, voc_test=1, ade_training=2, ade_validation=1)
        make_toy(Path(folder) / "toy", sizes=sizes, processes=1)
        os.environ["DATA_ROOT"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("DATA_ROOT")
            if before is not None:
                os.environ["DATA_ROOT"] = before


def _train(folder: Path, resume: bool = False, stop: int | None = None) -> None:
    """Train a small classifier in ``folder``, with a SIGTERM after update ``stop`` if that is given."""
    from tools.engine.config import Options, resolve
    from tools.engine.stopping import Stopped
    from tools.engine.training.building import build_runner
    from tools.engine.training.runner import end_workers

    overrides = {"model.backbone.base_channels": 8, "batch": 4, "micro_batch": 4, "epochs": 2, "num_workers": 0}
    options = Options(tricks=["resnet_d", "mixup"], overrides=overrides)
    cfg = resolve("configs/classification/resnet50_toy.py", options).cfg
    cfg.work_dir, cfg.launcher, cfg.log_level = str(folder), "none", "ERROR"
    runner = build_runner(cfg, resume)
    if stop:
        _stop_after(runner, stop)
    try:
        runner.train()
    except Stopped:
        pass
    finally:
        end_workers(runner)


def _stop_after(runner, update: int) -> None:
    """Make the runner's progress hook send SIGTERM to this process after an update."""
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "ProgressHook")
    wrapped = hook.after_train_iter

    def then_stop(runner, *args, **kwargs) -> None:
        wrapped(runner, *args, **kwargs)
        if runner.iter + 1 == update:
            signal.raise_signal(signal.SIGTERM)

    hook.after_train_iter = then_stop


def check_resume() -> str:
    """Check that a classifier stopped by SIGTERM within an epoch and resumed gets the weights of an undisturbed one."""
    from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint

    with made_data() as folder:
        _train(folder / "whole")
        _train(folder / "stopped", stop=3)
        stopped = last_checkpoint(folder / "stopped").name
        assert stopped == "iter_3.pth", f"a signal at update 3 left {stopped}"
        _train(folder / "stopped", resume=True)
        states = [check_checkpoint(last_checkpoint(folder / name)) for name in ("whole", "stopped")]
    weights = [state["state_dict"] for state in states]
    assert states[0]["meta"]["iter"] == states[1]["meta"]["iter"] > 3, "the resumed run made a different number of updates"
    if different := [name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])]:
        largest = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in different)
        raise AssertionError(f"{len(different)} tensors differ, by {largest:.2g} at most, from those of an undisturbed run")
    updates = states[0]["meta"]["iter"]
    return f"{len(weights[0])} tensors of a run stopped at update 3 equal those of an undisturbed run after {updates} updates"


def check_certificate(device: str) -> str:
    """Check that a card loaded into a segmenter is certified, and that one with swapped channels is refused."""
    from mmengine.registry import init_default_scope

    from backbones import BackboneCard, ResNet
    from backbones.transfer.certificate import certify, downstream_preprocessor
    from backbones.transfer.holdout import test_pipeline
    from classification import ImagePreprocessor
    from tools.engine.config import Options, resolve
    from tools.engine.training.building import build_model

    with made_data() as folder:
        torch.manual_seed(0)
        net = ResNet(50, "d", base_channels=8)
        facts = dict(mean=MEAN, std=STD, channel_order="rgb", input_size=64, resampler="bilinear", seed=0, top1=None)
        card = BackboneCard.write(folder / "card", net, ImagePreprocessor(MEAN, STD).normalise, **facts)
        cfg = resolve("configs/segmentation/fcn_toy.py", Options(backbone=str(card.path))).cfg
        cfg.model.data_preprocessor.pop("size", None)
        init_default_scope(cfg.default_scope)
        differences = []
        for swapped in (False, True):
            cfg.model.data_preprocessor.bgr_to_rgb = not swapped
            model = build_model(cfg).to(device)
            card.place(model.backbone)
            try:
                differences.append(certify(model.backbone, card, downstream_preprocessor(model, dict(test_pipeline(cfg)[0]))))
            except ValueError as error:
                assert swapped, str(error)
                return f"features of the probe image differ by {differences[0]:.1e} at most; swapped channels are refused"
    raise AssertionError("swapped channels are certified")
