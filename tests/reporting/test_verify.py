"""Test the verification of a study's table: an unchanged one holds, and each later change is found and named."""

import csv
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backbones.common.files import write_json, write_npz
from segmentation.metrics import REGIONS, figures
from tests.helpers.synthetic_study import NODES, RECIPES, change_json, figures_by_hand, made_study, read_rows, write_rows
from tools.engine.analysis.bootstrap import image_variances
from tools.engine.analysis.breakdowns import collect_details, run_folders
from tools.engine.analysis.gains import comparisons
from tools.engine.analysis.results import column_of, load_results
from tools.engine.analysis.verify import TOLERANCE, verify
from tools.engine.study_folder.files import DETAILS, GAINS

ROOT = Path(__file__).parents[2]
METRICS = {
    "classification": ("top1", "top5"),
    "detection": ("mAP", "mAP_area", "mAP_50_95"),
    "segmentation": (
        *("pixAcc", "mIoU", "mAcc", "mIoU_frequent", "mIoU_rare"),
        *(f"{name}_{region}" for name in ("pixAcc", "mIoU") for region in REGIONS),
    ),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return with_details(made_study(tmp_path_factory.mktemp("made"))).parent


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """Copy a synthetic study with its details.json, for a test to change."""
    return shutil.copytree(original, tmp_path / "work_dirs") / "made-toy"


def with_details(folder: Path) -> Path:
    """Write details.json, image variances and gains.json of a study, as tools/collect.py and tools/report.py do."""
    results = load_results(folder)
    folders = run_folders(results, folder)
    records = {key: json.loads((path / "record.json").read_text()) for key, path in folders.items()}
    files = {key: (folders[key] / r["per_image"], r) for key, r in records.items() if r["status"] == "done"}
    images = image_variances(results.rows, files, results.study["metrics"], [("smooth", "b_standard")])
    change_json(folder / "study.json", "images", value=images)
    write_json(folder / DETAILS, collect_details(results.rows, folders))
    write_json(folder / GAINS, comparisons(load_results(folder)))
    return folder


def change_rows(folder: Path, change, **which) -> None:
    """Apply ``change`` to each row of results.csv that has the values of ``which``; a row that becomes None is removed."""
    rows = [change(row) if all(row[k] == v for k, v in which.items()) else row for row in read_rows(folder)]
    write_rows(folder, [row for row in rows if row is not None])


def scaled(factor: float):
    return lambda row: row | {"value": repr(float(row["value"]) * factor)}


def change_npz(path: Path, **changes) -> None:
    with np.load(path) as saved:
        arrays = dict(saved)
    write_npz(path, **arrays | {name: change(arrays[name]) for name, change in changes.items()})


# --- a table that is right ----------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["gt", "union", "all"])
def test_figures_of_plain_loops_come_out_of_the_files_again(tmp_path, over):
    folder = with_details(made_study(tmp_path, over))
    findings = verify(folder)
    runs = len(RECIPES) * 2
    assert findings.differ == [] and findings.lacking == [] and findings.worst < TOLERANCE / 1000
    assert (findings.runs, findings.unverified, findings.empty) == (3 * runs, 0, 0)
    assert findings.computed == runs * sum(map(len, METRICS.values())) and findings.recorded == 3 * runs  # seconds
    assert findings.beside > findings.computed and findings.lines()[-1] == "results.csv holds"
    seen = {(row["task"], row["metric"]) for row in read_rows(folder)}
    assert seen == {(task, metric) for task, names in METRICS.items() for metric in (*names, "seconds")}


def test_metrics_lists_every_figure_that_a_segmenter_writes():
    regions = np.random.default_rng(0).integers(1, 9, (2, 4, 4))
    assert set(figures(regions)) == set(METRICS["segmentation"]) == set(figures_by_hand(regions, "gt"))


def test_the_config_decides_over_the_protocol_and_iou_counts(tmp_path):
    folder = made_study(tmp_path, "all")
    for recipe in RECIPES:
        for seed in range(2):
            run = tmp_path / f"runs/segmentation-{recipe}-{seed}"
            change_json(run / "record.json", "protocol", "metric_classes", value="union")
            write_json(run / "key.json", {"config": {"test_evaluator": {"classes": "all"}}})
    assert verify(with_details(folder)).differ == []
    write_json(tmp_path / "runs/detection-smooth-0/key.json", {"config": {"test_evaluator": {"iou": 0.75}}})
    differ = [text for text in verify(folder).differ if "in results.csv" in text]
    assert [text.split(" of ")[0] for text in differ] == ["mAP", "mAP_area"]  # mAP_50_95 has IoUs of its own
    assert all("run detection-smooth-0 " in text for text in differ)


def test_means_and_deviations_of_the_table_are_numpys(folder):
    results = load_results(folder)
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for recipe in RECIPES:
        for column in {column_of(row) for row in rows}:
            values = [float(r["value"]) for r in rows if r["recipe"] == recipe and column_of(r) == column]
            spread = results.cell(recipe, column).spread
            assert (spread.mean, spread.std) == pytest.approx((np.mean(values), np.std(values, ddof=1)))


# --- a table that was changed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "metric"), [(task, metric) for task in METRICS for metric in (*METRICS[task], "seconds")])
def test_any_figure_that_was_changed_is_named_with_both_values_and_the_run(folder, task, metric):
    (row,) = [r for r in read_rows(folder) if (r["run"], r["metric"]) == (f"{task}-smooth-1", metric)]
    change_rows(folder, scaled(1 + 1e-7), run=row["run"], metric=metric)
    (text,) = verify(folder).differ
    assert text.startswith(f"{metric} of smooth, {task}, seed 1, run {task}-smooth-1 in results.csv: ")
    assert repr(float(row["value"]) * (1 + 1e-7)) in text
    old = float(text.rsplit(": ", 1)[1])
    assert old == pytest.approx(float(row["value"]), rel=1e-12)
    assert ("record.json" if metric == "seconds" else NODES[task][3]) in text


def test_a_difference_within_the_tolerance_passes_and_is_reported(folder):
    change_rows(folder, scaled(1 + 1e-10), run="detection-smooth-1", metric="mAP")
    findings = verify(folder)
    assert findings.differ == [] and 0.5e-10 < findings.worst < 2e-10


FILES = [
    ("classification", "ranks.npz", {"rank": lambda a: a + (np.arange(len(a)) == 3).astype(a.dtype) * 9}),
    ("detection", "detections.npz", {"det_score": lambda a: a[::-1]}),
    ("detection", "detections.npz", {"gt_difficult": lambda a: ~a}),
    ("detection", "detections.npz", {"det_box": lambda a: a + 20}),
    ("segmentation", "confusion.npz", {"pixels": lambda a: a + (np.arange(len(a)) == 0)}),
    ("segmentation", "confusion.npz", {"region": lambda a: 1 - a}),
]


@pytest.mark.parametrize(("task", "file", "changes"), FILES)
def test_per_image_results_that_were_changed_are_found(folder, task, file, changes):
    change_npz(folder.parent / f"runs/{task}-smooth-0/{file}", **changes)
    differ = verify(folder).differ
    assert any(f"run {task}-smooth-0 in results.csv" in text for text in differ)
    assert not any("b_standard" in text and DETAILS not in text for text in differ)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def pickle_bomb(path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return Path.touch, (path.parent / "exploded",)

    np.savez(path, **{name: np.array([Bomb()], object) for name in ("rank", "label", "det_image", "gt_image", "image")})


def remove_arrays(path: Path) -> None:
    write_npz(path, other=np.zeros(3))


EMPTY, PICKLED = (lambda path: path.write_bytes(b"")), (lambda path: path.write_bytes(pickle.dumps([1])))
DAMAGES = [truncate, pickle_bomb, remove_arrays, EMPTY, PICKLED]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("task", list(NODES))
def test_files_that_cannot_be_read_are_named_and_never_run(folder, task, damage):
    path = folder.parent / f"runs/{task}-smooth-0/{NODES[task][3]}"
    damage(path)
    findings = verify(folder)
    assert any(f"{path} gives no figures" in text for text in findings.differ) and findings.unverified == 1
    assert not (path.parent / "exploded").exists() and findings.lines()[-1] == "results.csv differs"


def test_classes_that_are_none_of_the_runs_are_found(folder):
    change_npz(folder.parent / "runs/segmentation-smooth-0/confusion.npz", truth=lambda a: a + 3)
    change_npz(folder.parent / "runs/detection-smooth-0/detections.npz", det_label=lambda a: a + 3)
    differ = verify(folder).differ
    assert sum("gives no figures" in text for text in differ) == 2


def test_a_row_that_is_gone_or_was_added_is_found(folder):
    rows = read_rows(folder)
    change_rows(folder, lambda row: None, run="detection-smooth-0", metric="mAP_area")
    (text,) = verify(folder).differ
    assert text == (
        "mAP_area of smooth, detection, seed 0, run detection-smooth-0: "
        "detections.npz gives it, but results.csv has no row for it"
    )
    write_rows(folder, [*rows, rows[0] | {"metric": "top3", "value": "99.0"}])
    (text,) = verify(folder).differ
    assert "top3 of b_standard" in text and "99.0 in results.csv, but the run has no such figure" in text


SWAPS = [
    ("task", "segmentation"),
    ("network", "resnet152"),
    ("split", "held out"),
    ("status", "diverged"),
    ("protocol", "moco"),
    ("pretrain_seed", "7"),
]


@pytest.mark.parametrize(("name", "value"), SWAPS)
@pytest.mark.parametrize("task", ["classification", "detection"])
def test_a_run_under_another_name_is_found(folder, task, name, value):
    """Keep the figures of the run, and change one fact that the row says about it."""
    change_rows(folder, lambda row: row | {name: value}, run=f"{task}-smooth-0")
    assert any(f"run {task}-smooth-0: " in text for text in verify(folder).differ)


@pytest.mark.parametrize(("name", "other"), [("recipe", "b_standard-0"), ("pretrain_seed", "smooth-1")])
@pytest.mark.parametrize("task", ["classification", "detection"])
def test_two_runs_that_changed_places_are_found(folder, task, name, other):
    rows = read_rows(folder)
    values = {row["run"]: row[name] for row in rows}
    runs = [f"{task}-smooth-0", f"{task}-{other}"]
    names = dict(zip(runs, (values[run] for run in reversed(runs)), strict=True))
    write_rows(folder, [row | {name: names.get(row["run"], row[name])} for row in rows])
    differ = verify(folder).differ
    assert all(any(f"run {run}: " in text for text in differ) for run in runs)


def test_a_row_that_is_there_twice_is_refused(folder):
    rows = read_rows(folder)
    write_rows(folder, [*rows, rows[3] | {"value": "99.0", "run": "another"}])
    with pytest.raises(ValueError, match="lines 5 and 70 are both .* of b_standard with the same seeds"):
        verify(folder)


@pytest.mark.parametrize("name", ["total", "common", "paired", "count"])
def test_image_variances_that_were_set_to_0_are_found(folder, name):
    study = json.loads((folder / "study.json").read_text())
    for entry in study["images"]:
        entry[name] = 1 if name == "count" else 0.0
    write_json(folder / "study.json", study)
    differ = verify(folder).differ
    images = [text for text in differ if text.startswith("study.json, images of smooth, b_standard, ")]
    # the part of top-1 and mAP that pretrainings share was 0 before
    assert (
        len(images) == (4 if name in ("total", "count") else 2)
        and f" mIoU, fcn, segmentation_p, validation, {name}: " in images[-1]
    )


def test_image_variances_that_are_gone_are_found(folder):
    change_json(folder / "study.json", "images", value=[])
    differ = verify(folder).differ
    assert len(differ) == 4 and all("nothing, from the per-image results" in text for text in differ)


@pytest.mark.parametrize("name", ["gain", "low", "high", "p", "verdict"])
def test_intervals_p_and_verdicts_that_were_changed_are_found(folder, name):
    content = json.loads((folder / GAINS).read_text())
    entry = next(entry for entry in content["gains"] if entry["metric"] == "mAP")
    entry[name] = "better" if name == "verdict" else entry[name] / 2
    write_json(folder / GAINS, content)
    (text,) = verify(folder).differ
    assert text.startswith(f"gains.json, smooth, b_standard, mAP, faster_rcnn, detection_p, test, {name}: ")


def test_gains_that_were_paired_with_too_few_seeds_are_found(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("tools.engine.analysis.gains.FEWEST_PAIRS", 2)
        write_json(folder / GAINS, comparisons(load_results(folder)))
    differ = verify(folder).differ
    for name in ("low", "high", "p"):
        assert any(f"gains.json, smooth, b_standard, mAP, faster_rcnn, detection_p, test, {name}: " in text for text in differ)


def test_a_report_with_margins_of_its_own_is_verified_with_them(folder):
    write_json(folder / GAINS, comparisons(load_results(folder), {"mAP": 1e6}))
    assert verify(folder).differ == []
    change_json(folder / GAINS, "margins", value={"mAP": 0.3})
    assert any("verdict" in text for text in verify(folder).differ)


def test_a_network_may_only_leave_out_its_own_tricks(folder):
    change_json(folder / "study.json", "left_out", value={"inception_v3": ["label_smoothing"]})
    assert verify(folder).differ == []
    change_json(folder.parent / "runs/classification-smooth-0/record.json", "tricks", value=[["resnet_b", {}]])
    (text,) = verify(folder).differ
    assert "the recipe has the tricks label_smoothing, resnet_b, the run resnet_b" in text


def test_a_card_of_no_pretraining_is_found(folder):
    change_json(folder.parent / "runs/detection-smooth-0/record.json", "certificate", "card", value="sha of another")
    (text,) = verify(folder).differ
    assert text.startswith("recipe of smooth, detection, seed 0, ") and "its card is that of no pretraining of this study" in text


def test_the_pretraining_of_a_table_without_pretrainings_lies_beside_its_run(folder):
    change_rows(folder, lambda row: None, task="classification")
    for path in (folder / DETAILS, folder / GAINS):
        path.unlink()
    change_json(folder / "study.json", "images", value=[])
    for path in folder.parent.glob("runs/*/record.json"):
        recipe, seed = path.parent.name.split("-")[1:]
        change_json(path, "backbone", value=f"work_dirs/runs/classification-{recipe}-{seed}/card")
    assert not any(text.startswith("recipe of") for text in (*verify(folder).differ, *verify(folder).lacking))
    change_json(folder.parent / "runs/classification-smooth-1/record.json", "seed", value=5)
    assert sum("its card is of seed 5" in text for text in verify(folder).differ) == 2
    shutil.rmtree(folder.parent / "runs/classification-smooth-1")
    assert sum("the pretraining that wrote its card is not there" in text for text in verify(folder).lacking) == 2


def test_a_scratch_backbone_and_a_card_of_another_recipe_are_found(folder):
    change_json(
        folder.parent / "runs/detection-smooth-0/record.json", "certificate", "card", value="sha of classification-b_standard-1"
    )
    change_json(folder.parent / "runs/segmentation-smooth-0/record.json", "backbone", value="scratch")
    differ = verify(folder).differ
    assert len(differ) == 2
    assert differ[0].startswith("recipe of smooth, detection, seed 0, ") and "its card is that of b_standard, seed 1" in differ[0]
    assert differ[1].startswith("recipe of smooth, segmentation, seed 0, ") and "backbone is scratch" in differ[1]


def test_a_record_that_was_changed_is_found(folder):
    run = folder.parent / "runs/detection-smooth-1/record.json"
    change_json(run, "metrics", "mAP", value=99.0)
    change_json(run, "per_class", "dog", "AP", value=98.0)
    change_json(run, "errors", "hit", value=97)
    differ = verify(folder).differ
    names = ("metrics, mAP", "per_class, dog, AP", "errors, hit")
    assert [text.split(":")[0] for text in differ] == [f"record.json of run detection-smooth-1, {name}" for name in names]


def test_details_that_were_changed_are_found(folder):
    details = json.loads((folder / DETAILS).read_text())
    details["tables"][1]["recipes"]["smooth"]["values"]["cat"][0] += 1e-6
    del details["tables"][2]
    write_json(folder / DETAILS, details)
    assert verify(folder).differ  # a table is missing
    details = json.loads((with_details(folder) / DETAILS).read_text())
    details["tables"][1]["recipes"]["smooth"]["values"]["cat"][0] += 1e-6
    write_json(folder / DETAILS, details)
    (text,) = verify(folder).differ
    assert text.startswith("details.json, tables, 1, recipes, smooth, values, cat, 0: ")
    (folder / DETAILS).write_text("{")
    assert "details.json is not JSON" in verify(folder).differ[0]


# --- runs that cannot be verified --------------------------------------------------------------------------------


def test_a_run_without_its_file_or_folder_is_named_and_the_rest_verified(folder):
    (folder.parent / "runs/detection-smooth-0/detections.npz").unlink()
    shutil.rmtree(folder.parent / "runs/classification-smooth-1")
    findings = verify(folder)
    assert findings.differ == [] and findings.unverified == 2 and findings.computed == 2 * 28 - 5
    assert len(findings.lacking) == 6 and findings.lines()[-1] == "results.csv holds where it could be verified"
    place = folder.parent / "runs/detection-smooth-0"
    assert f"run detection-smooth-0 (detection, seed 0): no detections.npz in {place}" in findings.lacking
    assert any("run classification-smooth-1: no record.json in " in text for text in findings.lacking)
    assert any(text.startswith(DETAILS) for text in findings.lacking)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_record_of_an_older_version_is_no_fault_and_cannot_be_verified(folder, task):
    path = folder.parent / f"runs/{task}-smooth-0/record.json"
    record = json.loads(path.read_text())
    del record["per_class"]
    write_json(path, record)
    findings = verify(folder)
    assert findings.differ == [] and findings.unverified == 1
    assert f"run {task}-smooth-0 ({task}, seed 0): its record has no per_class, as those of older versions" in findings.lacking


def test_a_run_that_diverged_has_no_figure_and_may_not_have_one(tmp_path):
    folder = with_details(made_study(tmp_path, diverged=("detection-smooth-1",)))
    findings = verify(folder)
    assert findings.differ == [] and findings.lacking == [] and findings.empty == 2 and findings.unverified == 0
    change_rows(folder, lambda row: row | {"value": "70.0"}, run="detection-smooth-1", metric="mAP")
    (text,) = verify(folder).differ
    assert text.endswith("70.0 in results.csv, but the run's status is diverged")


def test_a_record_of_another_run_is_found(folder):
    runs = folder.parent / "runs"
    shutil.copy(runs / "detection-smooth-0/record.json", runs / "detection-smooth-1/record.json")
    assert any("is that of run detection-smooth-0" in text for text in verify(folder).differ)
    (runs / "detection-smooth-1/record.json").write_text("{")
    assert any("detection-smooth-1/record.json cannot be read" in text for text in verify(folder).differ)


# --- the script ---------------------------------------------------------------------------------------------


def run_script(folder: Path) -> subprocess.CompletedProcess:
    code = (
        "import sys, runpy; sys.argv = ['tools/report.py', sys.argv[1], '--verify']\n"
        "try:\n    runpy.run_path('tools/report.py', run_name='__main__')\n"
        "finally:\n    heavy = {n.split('.')[0] for n in sys.modules} & {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'}\n"
        "    print('heavy:', *sorted(heavy))"
    )
    return subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True)


def test_the_script_says_what_differs_writes_nothing_and_needs_no_torch(folder):
    before = sorted(folder.iterdir())
    done = run_script(folder)
    assert done.returncode == 0 and done.stderr == "" and sorted(folder.iterdir()) == before
    assert done.stdout.splitlines()[-2:] == ["results.csv holds", "heavy:"]
    change_rows(folder, scaled(1.01), run="segmentation-smooth-0", metric="mIoU")
    done = run_script(folder)
    assert done.returncode == 1 and done.stdout.count("differs: ") == 1 and "results.csv differs\n" in done.stdout


def test_a_folder_whose_runs_are_elsewhere_cannot_be_verified(folder):
    shutil.rmtree(folder.parent / "runs")
    done = run_script(folder)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "None of the 12 runs" in done.stderr
