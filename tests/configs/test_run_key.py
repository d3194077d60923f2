"""Check what changes the key of a run and what does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backbones.card_facts import CardFacts
from backbones.common.project import RECORD, ROOT, RUNS
from backbones.resolving import Machine
from tests.helpers.bad_input import CLASSIFIER, DETECTOR, SEGMENTER
from tools.engine.config import Options, resolve
from tools.engine.training.run import dump

RUN = "0123456789ab"


@pytest.fixture(autouse=True)
def here(toy_root, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)


def options_for(path: str, **options) -> Options:
    return Options(**({} if path == CLASSIFIER else {"backbone": "scratch"}) | options)


def key(path: str = CLASSIFIER, machine: Machine | None = None, **options) -> str:
    return resolve(path, options_for(path, **options), machine).key.name


def finish(card, folder: Path, run: str = RUN, digest: str | None = None) -> None:
    """Write the record of a finished pretraining that names ``card``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps({"key": run, "status": "done", "card": digest or card.sha256}))


# --- hooks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hook",
    [
        dict(type="EMAHook"),
        dict(type="EMAHook", momentum=0.1),
        dict(type="SyncBuffersHook", priority="LOW"),
        dict(type="classification.UpdateHook", priority="LOW"),
    ],
)
def test_a_hook_of_ones_own_counts_with_its_options(hook):
    keys = [key(), key(overrides={"custom_hooks": [hook]}), key(overrides={"custom_hooks": [dict(type="EMAHook", momentum=0.3)]})]
    assert len(set(keys)) == 3


def test_options_of_the_hook_that_certifies_a_card_count(make_card):
    card = str(make_card().path)
    plain = resolve(DETECTOR, Options(backbone=card))
    (at,) = [number for number, hook in enumerate(plain.cfg.custom_hooks) if hook["type"] == "backbones.TransferHook"]
    changed = resolve(DETECTOR, Options(backbone=card, overrides={f"custom_hooks.{at}.priority": "LOW"}))
    assert plain.key != changed.key


# --- cards and teachers ------------------------------------------------------------------------------------


def test_a_card_counts_as_its_run_if_the_record_of_the_run_names_it(make_card):
    card = make_card(source={"run": RUN})
    finish(card, RUNS / RUN)
    assert CardFacts.read(card.path).identity == RUN


def test_a_card_counts_as_its_run_beside_the_record_in_a_folder_of_ones_own(make_card, tmp_path):
    card = make_card(name="mine/card", source={"run": RUN})
    finish(card, tmp_path / "mine")
    assert CardFacts.read(tmp_path / "mine").identity == RUN


@pytest.mark.parametrize("case", ["no record", "another card", "another run", "damaged record", "no key"])
def test_any_other_card_counts_by_its_own_sha256(make_card, case):
    card = make_card(source={"run": "../../../etc" if case == "no key" else RUN})
    if case == "another card":  # of an earlier checkpoint of the run
        finish(card, RUNS / RUN, digest="0" * 64)
    elif case == "another run":
        finish(card, RUNS / RUN, run="ba9876543210")
    elif case == "damaged record":
        finish(card, RUNS / RUN)
        (RUNS / RUN / RECORD).write_text("[]")
    assert CardFacts.read(card.path).identity == card.sha256


def test_a_card_of_an_earlier_checkpoint_gives_a_transfer_another_key(make_card):
    final, earlier = (make_card(name=name, seed=seed, source={"run": RUN}) for seed, name in enumerate(("final", "earlier")))
    finish(final, RUNS / RUN)
    keys = [resolve(DETECTOR, Options(backbone=str(card.path))).key.name for card in (final, earlier)]
    assert keys[0] != keys[1]


def test_a_card_of_an_earlier_checkpoint_is_another_teacher(make_card):
    teachers = [make_card(name=name, seed=seed, source={"run": RUN}) for seed, name in enumerate(("final", "earlier"))]
    finish(teachers[0], RUNS / RUN)
    keys = [key(tricks=[("distillation", {"teacher": str(card.path)})]) for card in teachers]
    assert keys[0] != keys[1]


def test_a_card_that_was_replaced_changes_the_key_of_a_dumped_config(make_card, tmp_path):
    resolved = resolve(DETECTOR, Options(backbone=str(make_card().path)))
    (tmp_path / "config.py").write_text(dump(resolved))
    assert resolve(tmp_path / "config.py").key == resolved.key
    make_card(seed=1)
    assert resolve(tmp_path / "config.py").key != resolved.key


@pytest.mark.parametrize("path", [CLASSIFIER, DETECTOR])
def test_weights_to_start_from_count_by_content_and_not_by_their_place(path, tmp_path):
    (tmp_path / "mine.pth").write_bytes(b"first")
    (tmp_path / "copy.pth").write_bytes(b"first")
    first, copy = (key(path, overrides={"load_from": str(tmp_path / name)}) for name in ("mine.pth", "copy.pth"))
    (tmp_path / "mine.pth").write_bytes(b"other")
    other = key(path, overrides={"load_from": str(tmp_path / "mine.pth")})
    assert first == copy != other and key(path) not in (first, other)


@pytest.mark.parametrize("state", ["removed", "damaged"])
def test_a_dumped_config_loads_without_its_card(make_card, tmp_path, state):
    card = make_card()
    resolved = resolve(DETECTOR, Options(backbone=str(card.path)))
    (tmp_path / "config.py").write_text(dump(resolved))
    if state == "removed":
        (card.path / "card.json").unlink()
    else:
        (card.path / "card.json").write_text("{")
    assert resolve(tmp_path / "config.py").key == resolved.key


# --- processes, threads and the device ---------------------------------------------------------------------


@pytest.mark.parametrize(("path", "alike"), [(CLASSIFIER, True), (DETECTOR, False), (SEGMENTER, False)])
def test_the_number_of_processes_counts_where_several_do_not_train_like_one(path, alike):
    overrides = {"batch": 8, "micro_batch": 4} if path == CLASSIFIER else {"protocol.batch": 2}
    keys = [key(path, Machine(1, False, False, processes), overrides=overrides) for processes in (1, 2)]
    assert (keys[0] == keys[1]) == alike


@pytest.mark.parametrize(("cuda", "count"), [(False, 2), (True, 1)])
def test_threads_count_on_cpus_alone(cuda, count):
    overrides = {"threads": None}
    assert len({key(machine=Machine(threads, cuda, False), overrides=overrides) for threads in (1, 2)}) == count


@pytest.mark.slow
def test_torchrun_changes_no_key(toy_root):
    """torchrun sets OMP_NUM_THREADS to 1 where it is not set."""
    code = "from backbones.common.fact_cache import machine; print('threads', machine()['threads'])"
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)}
    launches = [["-c", code], ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python"]]
    launches[1] += [sys.executable, "-c", code]
    done = [subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True) for words in launches]
    lines = [set(process.stdout.splitlines()) for process in done]
    assert lines[0] == lines[1] and len(lines[0]) == 1, done
