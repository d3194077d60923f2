"""Test the options of the tools: each acts or is refused in one sentence, with status 2, before anything is read or written."""

import importlib
import sys

import pytest

from tools.engine.config.arguments import positive_number, whole_number

DEMO, TRANSFER = "configs/studies/demo.py", "configs/studies/transfer.py"
CLASSIFIER, FCN = "configs/classification/resnet50_toy.py", "configs/segmentation/fcn_toy.py"
SEEDS = "is not of the form P or PxF, as in 3 and 3x2, with numbers from 1 to 100"
REFUSED = [
    # counts
    *(
        (f"study plan {DEMO} --seeds {text}", f"{text!r} {SEEDS}")
        for text in ("3x", "x2", "0", "-1", "1x0", "101", "1x101", "a", "1.5")
    ),
    *(
        (f"study run {DEMO} --jobs {n}", f"--jobs: '{n}' is not a whole number from 1 to 1024")
        for n in ("0", "-1", "9999", "2.5", "x")
    ),
    *((f"study run {DEMO} --gpus {n}", f"--gpus: '{n}' is not a whole number from 0 to 1024") for n in ("-1", "9999", "1.5")),
    *((f"study run {DEMO} --retry {n}", f"--retry: '{n}' is not a whole number from 0 to 1024") for n in ("-1", "9999", "1e2")),
    *((f"study run {DEMO} --cpus {n}", f"--cpus: '{n}' is not a whole number from 1 to 1024") for n in ("0", "-1", "9999")),
    *((f"study run {DEMO} --time {n}", f"--time: '{n}' is not a whole number from 1 to 527040") for n in ("0", "-5", "9999999")),
    *(
        (f"study plan {DEMO} --detect {x}", "is not a number above 0 and below 100")
        for x in ("0", "-1", "nan", "100", "inf", "x")
    ),
    *((f"benchmark loader --rounds {n}", f"--rounds: '{n}' is not a whole number from 1 to 1024") for n in ("0", "-1", "9999")),
    *((f"benchmark loader --threads {n}", f"--threads: '{n}' is not a whole number from 1 to 1024") for n in ("0", "-1", "9999")),
    *((f"show KEY --num {n}", f"--num: '{n}' is not a whole number from 1 to 1024") for n in ("0", "-1", "9999")),
    *((f"prepare_data check voc --workers {n}", f"--workers: '{n}' is not a whole number") for n in ("0", "-1", "9999")),
    *(
        (f"prepare_data toy --seed {n}", f"--seed: '{n}' is not a whole number from 0 to 4294967295")
        for n in ("-1", "4294967296", "1.5")
    ),
    *(
        (f"train {CLASSIFIER} --seed {n}", f"--seed: '{n}' is not a whole number from 0 to 4294967295")
        for n in ("-1", "4294967296", "x")
    ),
    *(
        (f"print_config {FCN} --lr-factor {x}", f"--lr-factor: '{x}' is not a number above 0")
        for x in ("0", "-1", "nan", "inf", "x")
    ),
    *(
        (f"report FOLDER --margin {text}", "give METRIC=POINTS with 0 points or more")
        for text in ("mAP", "mAP=-1", "mAP=nan", "=1")
    ),
    # options that act on nothing
    (f"study plan {DEMO} --teachers smooth=nowhere", "no row of demo asked for has such a teacher"),
    (f"study plan {TRANSFER} --teachers smooth=a smooth=b", "--teachers has two cards for one recipe; give one RECIPE=CARD"),
    (f"study plan {TRANSFER} --teachers smooth", "--teachers 'smooth' has no card; give RECIPE=CARD"),
    (
        f"study plan {DEMO} --tasks classification --seeds 1x2",
        "--seeds 1x2 has fine-tunings for a task that transfers a backbone",
    ),
    (
        f"study plan {DEMO} --tasks classification --tune-lr",
        "--tune-lr is for a task that transfers a backbone, and the tasks asked",
    ),
    (f"study plan {DEMO} --tasks classification --protocol moco", "no protocol 'moco' for classification; all: none"),
    (f"study plan {DEMO} --tasks segmentation --protocol moco", "no protocol 'moco' for segmentation; "),
    (f"study plan {DEMO} --protocol mocoo", "'mocoo' for classification, detection, segmentation; nearest: moco, "),
    (f"study plan {DEMO} --tasks detektion", "demo has no task 'detektion'; nearest: detection"),
    (f"study plan {DEMO} --recipes smoooth", "no recipe 'smoooth'; nearest: smooth"),
    (f"study run {DEMO} --time 60", "--time is for --executor slurm"),
    (f"study run {DEMO} --executor slurm --jobs 2", "--jobs is for runs on this machine"),
    ("report FOLDER --margin mAP=1 mAP=2", "--margin has two margins for one metric; give one METRIC=POINTS for each"),
    (
        "report FOLDER --fidelity A B",
        "--fidelity A B names both folders itself and verifies nothing; leave out the folder FOLDER",
    ),
    ("report --verify --fidelity A B", "leave out --verify"),
    ("report FOLDER --verify --margin mAP=1", "--margin changes the verdicts of a report, and --verify writes none"),
    (f"train {CLASSIFIER} --hold-out", "--hold-out is for detection and segmentation"),
    (f"train {CLASSIFIER} --lr-factor 2", "--lr-factor is for detection and segmentation"),
    (f"train {CLASSIFIER} --transfer finetune", "--transfer is for detection and segmentation"),
    (f"train {CLASSIFIER} --protocol moco", "--protocol is for detection and segmentation"),
    (f"train {FCN} --backbone scratch --tricks cosine", "--tricks belong to pretraining"),
    (f"train {FCN} --backbone scratch --transfer frozen", "would never train the backbone"),
    (f"train {CLASSIFIER} --vis nowhere", "--vis has no backend 'nowhere'"),
    (f"train {CLASSIFIER} --tricks mixup:", "is not of the form name:option=value,option=value"),
    (f"train {CLASSIFIER} --tricks mixup:alpha=", "is not of the form name:option=value,option=value"),
    (f"train {CLASSIFIER} --tricks mixup:alpha=1,alpha=2", "has an option twice; give each option once"),
    (f"train {CLASSIFIER} --tricks cosine cosine", "The trick cosine is given twice; give it once"),
]


def answer(monkeypatch, capsys, command: str) -> str:
    """Return the last line that a tool writes to stderr, after it ended with status 2."""
    tool, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # some tools set it, and it is set back afterwards
    module = importlib.import_module(f"tools.{tool}")
    with pytest.raises(SystemExit) as stop:
        module.main(getattr(module, tool, None) or getattr(module, tool.split("_")[0]))
    text = capsys.readouterr().err
    assert stop.value.code == 2 and "Traceback" not in text, text
    return text.splitlines()[-1]


@pytest.mark.parametrize(("command", "sentence"), REFUSED, ids=[command.replace("configs/", "") for command, _ in REFUSED])
def test_an_option_that_cannot_act_is_refused(monkeypatch, capsys, tmp_path, toy_root, command, sentence):
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.chdir(tmp_path)
    assert sentence in answer(monkeypatch, capsys, command)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("1024", 1024), (" 7 ", 7)])
def test_a_whole_number_is_read(text, number):
    assert whole_number(1)(text) == number


@pytest.mark.parametrize(("text", "number"), [("0.3", 0.3), ("1e-3", 1e-3), ("99.9", 99.9)])
def test_a_positive_number_is_read(text, number):
    assert positive_number(below=100)(text) == number
