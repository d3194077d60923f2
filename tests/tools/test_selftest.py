"""Test that the self-test of tools/doctor.py passes here, and that it detects faults."""

import subprocess
import sys

import pytest
import torch

from tests.helpers.networks import ROOT
from tools.engine.doctor import selftest


@pytest.mark.slow
def test_the_self_test_passes_on_this_machine(tmp_path):
    command = [sys.executable, ROOT / "tools/doctor.py", "--selftest"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    lines = [line for line in process.stdout.splitlines() if line.startswith("ok ")]
    names = ("NMS", "RoIAlign", "metrics", "exact resume", "certificate")
    assert [name in line for name, line in zip(names, lines, strict=True)] == [True] * 5
    assert "No problems found." in process.stdout


def nms_of_another_threshold(boxes, scores, threshold, **more):
    return None, torch.argsort(-scores)[:5]


def broken(*_, **__):
    raise RuntimeError("no kernel image is available\nfor execution")


@pytest.mark.parametrize(
    ("target", "replaced", "check", "message"),
    [
        ("mmcv.ops.nms", nms_of_another_threshold, lambda: selftest.check_nms("cpu"), "does not hold: of 200 boxes it keeps 5"),
        ("mmcv.ops.nms", broken, lambda: selftest.check_nms("cpu"), "fails: RuntimeError: no kernel image is available"),
        ("mmcv.ops.RoIAlign", lambda *_, **__: lambda maps, rois: torch.zeros(2, 1, 3, 3), None, "does not hold: differs by"),
        ("segmentation.metrics.mean_iou", lambda matrix: 50.0, selftest.check_metrics, "mIoU is 50.000000, but must be 55"),
        ("detection.metrics.mean_ap", lambda *_: 100.0, selftest.check_metrics, "AP is 100.000000, but must be 84.848485"),
        ("classification.metrics.topk", lambda ranks, k: 50.0, selftest.check_metrics, "top2 is 50.000000, but must be 75"),
        ("tools.engine.training.seeding.seed_of", lambda *parts: torch.seed() >> 1, selftest.check_resume, "tensors differ, by"),
        (
            "backbones.transfer.certificate.TOLERANCE",
            1e9,
            lambda: selftest.check_certificate("cpu"),
            "swapped channels are certified",
        ),
    ],
)
def test_a_fault_is_reported_as_wrong(monkeypatch, target, replaced, check, message):
    monkeypatch.setattr(target, replaced)
    finding = selftest.judged("it", check or (lambda: selftest.check_roi_align("cpu")))
    assert finding.state == "WRONG" and message in finding.found and finding.fix.startswith("pip install ")
