"""Check that hostile files are refused in one sentence or do nothing; code in such a file would create the file ``mark``."""

import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.card import BackboneCard
from backbones.common.files import read_json, read_npz, sha256
from backbones.common.project import ROOT
from backbones.interchange.checkpoint_files import read_checkpoint
from classification.bootstrap import resampled
from detection.annotations import read_annotation
from detection.metrics import load as load_detections
from segmentation.metrics import load as load_confusion
from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SMALL  # noqa: F401
from tests.helpers.bad_input import refused as refused
from tests.helpers.bad_input import world as world
from tests.helpers.synthetic_report import made_rows, write_study
from tools.engine.config import Options, resolve, untrusted_notice
from tools.engine.reporting.report import write_report
from tools.engine.run_folder import read_record
from tools.engine.training.building import build_runner
from tools.engine.training.checkpoints import check_checkpoint, last_checkpoint
from tools.engine.training.runner import end_workers

PACKAGES = ("backbones", "classification", "detection", "segmentation", "tools")


class Attack:
    """Create the file ``mark`` when unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path) -> Path:
    path = tmp_path / "mark"
    yield path
    assert not path.exists(), "the code in the file was run"


def attacks(mark: Path, folder: Path) -> dict[str, Path]:
    """Write checkpoints that contain code: in torch's format, in its old format, and as a bare pickle."""
    content = {"state_dict": {"fc.weight": torch.zeros(1)}, "meta": Attack(mark)}
    paths = {name: folder / f"{name}.pth" for name in ("zip", "old", "pickle")}
    torch.save(content, paths["zip"])
    torch.save(content, paths["old"], _use_new_zipfile_serialization=False)
    paths["pickle"].write_bytes(pickle.dumps(content))
    return paths


def test_the_attacks_work_on_an_unsafe_reader(tmp_path):
    for path in attacks(tmp_path / "mark", tmp_path).values():
        if path.stem == "pickle":
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
        (tmp_path / "mark").unlink()


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_a_checkpoint_with_code_is_refused(mark, tmp_path, kind):
    path = attacks(mark, tmp_path)[kind]
    with pytest.raises(ValueError, match="would run its code|cannot be read as a checkpoint"):
        check_checkpoint(path)
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:  # as tools/import_backbone.py reads it
        read_checkpoint(path)
    assert "--unpickle" in str(error.value) or "damaged" in str(error.value)


def test_a_run_does_not_resume_from_a_checkpoint_with_code(world, mark, tmp_path):  # noqa: F811
    cfg = resolve(CLASSIFIER, Options(overrides={"model.backbone.base_channels": 8})).cfg
    (tmp_path / "run").mkdir()
    path = attacks(mark, tmp_path / "run")["zip"]
    assert last_checkpoint(tmp_path / "run") is None
    cfg.work_dir, cfg.launcher, cfg.load_from = str(tmp_path / "out"), "none", str(path)  # as tools/test.py gives it
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match="holds Python objects besides tensors; it is not loaded"):
        runner.test()
    end_workers(runner)


def test_a_config_inside_a_checkpoint_is_not_run(world, mark, tmp_path):  # noqa: F811
    cfg = resolve(CLASSIFIER, Options(overrides={"model.backbone.base_channels": 8})).cfg
    cfg.work_dir, cfg.launcher = str(tmp_path / "run"), "none"
    runner = build_runner(cfg)
    path = tmp_path / "iter_1.pth"
    torch.save({"state_dict": runner.model.state_dict(), "meta": {"iter": 1, "config": f"open({str(mark)!r}, 'w')"}}, path)
    runner._resume = True
    assert "config" not in runner.load_checkpoint(str(path))["meta"]  # MMEngine's ``resume`` would run it
    end_workers(runner)


def header(length: int, text: bytes = b"{}") -> bytes:
    return struct.pack("<Q", length) + text


@pytest.mark.parametrize(
    "content",
    [
        header(2**60),
        header(2**63 - 1),
        header(99, b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
        header(78, b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
        header(60, b"{" + b'"a":{' * 12),
    ],
    ids=("2**60 bytes", "2**63 bytes", "a header cut short", "4 TB", "no JSON"),
)
def test_a_safetensors_file_that_promises_more_than_it_has_is_refused(make_card, tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged, or cut short"):
        read_checkpoint(path)
    card = make_card().path
    (card / "weights.safetensors").write_bytes(content)
    about = json.loads((card / "card.json").read_text())
    about["sha256"]["weights.safetensors"] = sha256(card / "weights.safetensors")
    (card / "card.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="weights.safetensors is no safetensors file"):
        BackboneCard.load(card)


LAUGHS = "<!DOCTYPE a [<!ENTITY b0 'ha'>" + "".join(f"<!ENTITY b{i + 1} '{f'&b{i};' * 10}'>" for i in range(9)) + "]>"
OUTSIDE = "<!DOCTYPE a [<!ENTITY b9 SYSTEM 'file:///etc/hostname'>]>"


@pytest.mark.parametrize("doctype", [LAUGHS, OUTSIDE])
def test_an_xml_with_entities_is_refused(refused, world, doctype):  # noqa: F811
    path = sorted((world / "VOCdevkit/VOC2007/Annotations").iterdir())[0]
    path.write_text(f"{doctype}<annotation><object><name>&b9;</name></object></annotation>")
    with pytest.raises(ValueError, match="it has a DOCTYPE"):
        read_annotation(path)
    assert str(path) in refused("train", DETECTOR, "--backbone", "scratch")


DEEP = "[" * 100_000 + "]" * 100_000


def test_json_nested_too_deep_is_refused(refused, world, make_card, tmp_path):  # noqa: F811
    (tmp_path / "record.json").write_text(DEEP)
    for read in (read_json, lambda path: read_record(path.parent)):
        with pytest.raises(ValueError, match="record.json is nested too deep"):
            read(tmp_path / "record.json")
    card = make_card().path
    (card / "card.json").write_text(DEEP)
    assert "card.json is nested too deep" in refused("train", DETECTOR, "--backbone", card)


def test_a_study_nested_too_deep_is_refused(refused, tmp_path):  # noqa: F811
    folder = write_study(tmp_path / "demo-toy", made_rows())
    (folder / "study.json").write_text(DEEP)
    assert "study.json is nested too deep" in refused("report", folder)


@pytest.mark.parametrize(
    ("read", "arrays"),
    [
        (
            load_detections,
            [f"{part}_{name}" for part in ("det", "gt") for name in ("image", "box", "label", "score", "difficult")],
        ),
        (load_confusion, list(load_confusion.__annotations__["return"].__dataclass_fields__)),
        (lambda path: resampled(path, np.ones((1, 1)), "top1"), ["rank", "label"]),
        (read_npz, ["anything"]),
    ],
)
def test_per_image_results_with_code_are_refused(mark, tmp_path, read, arrays):
    path = tmp_path / "results.npz"
    np.savez(path, **{name: np.array([Attack(mark)], dtype=object) for name in arrays})
    with pytest.raises(ValueError, match=re.escape(f"{path} is no file of plain arrays (Python objects, which would run code)")):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", pickle.dumps({"rank": 1})])
def test_damaged_per_image_results_are_refused(tmp_path, content):
    path = tmp_path / "results.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_npz(path)


def test_an_array_that_promises_more_than_it_has_is_refused(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    path = tmp_path / "results.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rank.npy", head.getvalue() + b"\0" * 80)
    with pytest.raises(ValueError, match=re.escape(f"{path} is no file of plain arrays")):
        read_npz(path)


def test_nothing_unpacks_archives():
    """No archive can write outside of a folder: users unpack the data, and checkpoints and arrays are read in memory."""
    unpacks = re.compile(r"unpack_archive|extractall|\.extract\(|import gzip|import bz2|import lzma")
    sources = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    assert len(sources) > 50 and not [path for path in sources if unpacks.search(path.read_text())]


def test_a_config_is_code_and_the_tools_say_so(tmp_path, refused, capsys):  # noqa: F811
    config = tmp_path / "own.py"
    config.write_text("task = 'none'\n")
    notice = f"{config} is not one of configs/. A config is Python code that is run: use one only from people whom you trust."
    assert untrusted_notice(config) == notice
    assert untrusted_notice(CLASSIFIER) == untrusted_notice(ROOT / CLASSIFIER) == ""
    refused("train", config)
    for tool in ("train", "test"):
        text = subprocess.run([sys.executable, f"tools/{tool}.py", "--help"], cwd=ROOT, capture_output=True, text=True).stdout
        assert "it is Python code, which is run" in " ".join(text.split())


def test_the_train_tool_says_that_it_runs_a_config_from_elsewhere(world, tmp_path):  # noqa: F811
    config = tmp_path / "own.py"
    config.write_text(f"_base_ = [{str(ROOT / CLASSIFIER)!r}]\n")
    arguments = ["tools/train.py", str(config), *SMALL, "no_such_key=1"]
    ended = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and "own.py is not one of configs/. A config is Python" in ended.stderr


SCRIPT = "<script>alert(1)</script>"
PICTURE = "![x](https://example.org/x.png)"
INPUT = r"\input{/etc/passwd}"


def test_names_in_a_study_are_text(tmp_path):
    name = f"{SCRIPT} | {PICTURE} {INPUT} $x$ {{{{7*7}}}}"
    rows = [row | {"recipe": name if row["recipe"] == "smooth" else row["recipe"], "network": SCRIPT} for row in made_rows()]
    folder = write_study(tmp_path / "demo-toy", rows, name=name, labels={name: name}, tricks={}, differences={})
    written = {name: path.read_text() for name, path in write_report(folder).items() if path.suffix in (".html", ".md", ".tex")}
    assert SCRIPT not in written["report.html"] and "&lt;script&gt;alert(1)" in written["report.html"]
    assert not re.search(r"<img[^>]+src=.?https?:", written["report.html"]) and "{{7*7}}" in written["report.html"]
    assert "<script" not in written["report.md"] and re.search(r"(?<!\\)!\[x\]\(https", written["report.md"]) is None
    (tex,) = (text for name, text in written.items() if name.endswith(".tex"))
    assert "\\input{" not in tex and "\\textbackslash{}input\\{/etc/passwd\\}" in tex
