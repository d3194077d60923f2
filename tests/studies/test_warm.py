"""Test that facts and processes shared between runs of a study give the results of separate runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backbones.common.config_reader import read_config
from backbones.common.fact_cache import DEVICE, check_device, machine
from classification.dtypes import resolve_dtype
from tools.engine.config import Options, resolve
from tools.engine.run_folder import failure_of, log_of
from tools.engine.studies.graph import card_of, rows_of, shared
from tools.engine.studies.study import load_study
from tools.engine.training.starting import check_processes

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, tmp_path: Path, **variables: str) -> str:
    """Return the output of ``code`` in a Python process of its own, whose cache is empty at first."""
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)} | variables
    process = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


# ---- cached facts of the machine


CONTENTS = f"""
import json
from tools.engine.studies.graph import nodes_of
from tools.engine.studies.study import load_study
print(json.dumps([node.run_key.content for node in nodes_of(load_study("{ROOT}/configs/studies/demo.py", "toy", ["smooth"]))]))
"""
ASK = """
import json, sys
from backbones.common.fact_cache import machine
print(json.dumps(machine()))
print('torch' in sys.modules)
"""


def test_cached_facts_of_the_machine_are_those_of_torch(tmp_path):
    truth = python(
        "import torch; print(torch.get_num_threads(), torch.cuda.is_available())", tmp_path, OMP_NUM_THREADS="1"
    ).split()
    for loaded in ("True", "False"):  # the first time torch is asked
        facts, torch = python(ASK, tmp_path, OMP_NUM_THREADS="1").splitlines()
        facts = json.loads(facts)
        assert [str(facts["threads"]), str(facts["cuda"])] == truth and torch == loaded


def test_other_environment_variables_invalidate_the_cache(tmp_path):
    python(ASK, tmp_path, OMP_NUM_THREADS="1")
    facts, torch = python(ASK, tmp_path, OMP_NUM_THREADS="2").splitlines()
    assert torch == "True" and json.loads(facts)["threads"] == 2


def test_a_variable_speaks_for_the_gpu_of_a_host_without(tmp_path, monkeypatch, toy_root):
    facts = [json.loads(python(ASK, tmp_path, TRICKTRANSFER_DEVICE=device).splitlines()[0]) for device in ("", "cpu", "cuda")]
    assert facts[0] == facts[1] and facts[2] == facts[0] | {"cuda": True}
    for device, precision in {"cpu": resolve_dtype("auto"), "cuda": "float16"}.items():  # of low_precision, a trick of smooth
        variables = dict(DATA_ROOT=str(toy_root.parent), TRICKTRANSFER_DEVICE=device)
        contents = json.loads(python(CONTENTS, tmp_path, **variables))
        assert [content["device"] for content in contents] == [device] * 3
        assert contents[0]["config"]["precision"] == precision
    monkeypatch.setenv(DEVICE, "gpu")
    with pytest.raises(ValueError, match="DEVICE is 'gpu'; set it to cpu or cuda"):
        machine()


@pytest.mark.parametrize(
    ("gpu", "device", "ends"), [(False, "cuda", "sees no GPU; unset it"), (True, "cpu", "sees a GPU; unset it")]
)
def test_no_run_is_made_on_another_device_than_its_key_says(monkeypatch, gpu, device, ends):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    check_device()
    monkeypatch.setenv(DEVICE, device)
    with pytest.raises(ValueError, match=f"The variable {DEVICE} is {device}, but this process {ends}"):
        check_device()
    monkeypatch.setenv(DEVICE, "cuda" if gpu else "cpu")
    check_device()


@pytest.mark.parametrize(
    ("gpus", "device", "refusal"),
    [
        (0, "", f"started 2 processes, but this host has 0 GPUs; start one for each, or set {DEVICE}=cpu to train on CPUs."),
        (1, "", "started 2 processes, but this host has 1 GPUs; start one for each."),
        (1, "cpu", "started 2 processes, but this host has 1 GPUs; start one for each."),
        (0, "cpu", None),
        (2, "", None),
    ],
)
def test_torchrun_needs_a_gpu_for_each_process_unless_cpus_were_asked_for(monkeypatch, gpus, device, refusal):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv(DEVICE, device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if refusal is None:
        return check_processes()
    with pytest.raises(ValueError, match=re.escape(refusal)):
        check_processes()


def test_a_home_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "cache").write_text("a file in the folder's place")
    assert python(ASK, tmp_path).splitlines()[1] == "True"


@pytest.mark.slow
def test_a_second_plan_takes_no_torch_and_says_the_same(tmp_path):
    code = (
        f"import runpy, sys; sys.argv = ['study.py', 'plan', '{ROOT}/configs/studies/table8.py', '--scale', 'toy']\n"
        f"try: runpy.run_path('{ROOT}/tools/study.py', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "print('torch' in sys.modules)"
    )
    (*first, loaded), (*second, loaded_again) = (python(code, tmp_path).splitlines() for _ in range(2))
    assert first == second and len(first) > 16 and (loaded, loaded_again) == ("True", "False")


# ---- plans that the seeds of a row share


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_keys_of_a_plan_are_those_of_its_runs(seeds):
    study = load_study("configs/studies/table8.py", "toy", seeds=seeds)
    for node in rows_of(study):
        card = card_of(node.above) if node.above and not node.pretrain else None
        resolved = resolve(node.config, node.options, card=card)
        if node.above:
            upstream = node.above.key
        else:
            upstream = None if node.pretrain else "scratch"
        assert node.run_key.content["upstream"] == upstream
        assert node.run_key == resolved.key_of(node.options.seed, upstream), node.name
        if not (node.pretrain and node.above):  # the card of its teacher has yet to be written
            assert node.run_key == resolved.key, node.name


def test_a_shared_plan_depends_on_options_and_data_root(monkeypatch):
    path, options = "configs/classification/resnet50_toy.py", Options()
    assert shared(path, options) is shared(path, Options(seed=5))
    assert shared(path, Options(tricks=["cosine"])) is not shared(path, options)
    monkeypatch.setenv("DATA_ROOT", "elsewhere")
    assert shared(path, options).data_folder == "elsewhere/toy/imagenet"
    assert shared(path, options).cfg.train_dataloader.dataset.root == "elsewhere/toy/imagenet/train"


def test_a_config_is_read_anew_where_it_has_changed_and_is_ones_own(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("value = [1]")
    first = read_config(path)
    first.value.append(2)
    assert read_config(path).value == [1]
    path.write_text("value = [3]")
    os.utime(path, ns=(0, 1))
    assert read_config(path).value == [3]


# ---- runs that are forked


RUN = """
import json, sys
from pathlib import Path
from tools.engine.launching import fork_server as warm
from tools.engine.config import Options, resolve
from tools.engine.launching.local import run_node
from tools.engine.studies.node import Node

if __name__ == "__main__":
    forked, task, config, overrides = json.loads(sys.argv[1])
    if forked:
        warm.start()
    options = Options(seed=0, backbone=None if task == "classification" else "scratch", overrides=overrides)
    resolved = resolve(config, options)
    node = Node(resolved.key, "scratch", "", config, options, resolved)
    print(run_node(node), node.folder)
"""
ONE, SHORT = {"epochs": 1}, {"protocol.length.epochs": 1}
TASKS = {
    "classification": ["configs/classification/resnet50_toy.py", ONE],
    "detection": ["configs/detection/faster_rcnn_fpn_toy.py", SHORT],
    "segmentation": ["configs/segmentation/fcn_toy.py", SHORT | {"protocol.batch": 2}],
}


def run(folder: Path, root: Path, forked: bool, task: str, config: str, overrides: dict) -> tuple[str, Path]:
    """Run a node in a folder of its own below ``folder``; return whether it is done, as printed, and the run's folder."""
    place = folder / f"forked_{forked}"
    place.mkdir()
    script = place / "launch.py"
    script.write_text(RUN)
    env = os.environ | {"DATA_ROOT": str(root), "PYTHONPATH": str(ROOT)}
    line = [sys.executable, script, json.dumps([forked, task, config, overrides])]
    process = subprocess.run(line, env=env, cwd=place, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    done, run_folder = process.stdout.split()
    return done, place / run_folder


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_forked_run_is_that_of_a_new_python(toy_root, tmp_path, task):
    outputs, folders = zip(*(run(tmp_path, toy_root.parent, forked, task, *TASKS[task]) for forked in (True, False)), strict=True)
    assert outputs == ("True", "True")
    records = [json.loads((folder / "record.json").read_text()) for folder in folders]
    assert records[0]["metrics"] == records[1]["metrics"] and records[0]["machine"] == records[1]["machine"]
    curves = [(folder / "curve.jsonl").read_text() for folder in folders]
    assert curves[0] == curves[1] and curves[0]
    names = [sorted(path.name for path in folder.iterdir() if not path.is_dir()) for folder in folders]
    assert names[0] == names[1]


@pytest.mark.slow
def test_a_forked_run_that_fails_leaves_the_end_of_its_log(toy_root, tmp_path):
    output, folder = run(tmp_path, tmp_path / "nowhere", True, "classification", TASKS["classification"][0], ONE)
    assert output == "False" and not folder.exists()
    assert "error:" in failure_of(folder).read_text() and "nowhere" in failure_of(folder).read_text()
    assert failure_of(folder).read_text() in log_of(folder).read_text()
