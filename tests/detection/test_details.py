"""Test the breakdowns by class, error and part of images against mmdet, plain loops and numpy, and their tables."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backbones.common.files import write_json, write_npz
from classification import breakdowns as classification
from detection.error_analysis import KINDS, lost_map
from segmentation import breakdowns as segmentation
from tests.helpers.average_precision import as_boxes, devkit_ap, devkit_iou, mmdet_case
from tests.helpers.errors import AWAY, FOUR_TENTHS, LESS, SQUARE, loop
from tests.helpers.synthetic_study import ANIMALS, STUFF, made_boxes, made_study, read_rows
from tools.engine.analysis.breakdowns import collect_details, run_folders
from tools.engine.analysis.results import Results, load_results
from tools.engine.config import part_of
from tools.engine.reporting.breakdown_tables import detail_tables
from tools.engine.study_folder.files import DETAILS
from tools.engine.toy_data.scenes import ADE_IDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write a synthetic study, which tests only read."""
    return made_study(tmp_path_factory.mktemp("made"))


def collected(folder: Path) -> dict:
    results = load_results(folder)
    return collect_details(results.rows, run_folders(results, folder))


def table_of(details: dict, task: str, name: str) -> dict:
    (table,) = [table for table in details["tables"] if (table["task"], table["name"]) == (task, name)]
    return table


def npz(folder: Path, run: str, file: str) -> dict:
    with np.load(folder.parent / "runs" / run / file) as saved:
        return dict(saved)


# --- figures ------------------------------------------------------------------------------------------------


def test_ap_of_each_class_is_that_of_mmdet(folder):
    from mmdet.evaluation import eval_map

    values = table_of(collected(folder), "detection", "per_class")["recipes"]
    for recipe, side in values.items():
        aps = []
        for seed in range(2):
            arrays = npz(folder, f"detection-{recipe}-{seed}", "detections.npz")
            rows = [
                list(zip(arrays[f"{p}image"], arrays[f"{p}box"], arrays[f"{p}label"], arrays[f"{p}{last}"], strict=True))
                for p, last in (("det_", "score"), ("gt_", "difficult"))
            ]
            case = mmdet_case(*rows, 3, 12)
            options = dict(nproc=1, use_legacy_coordinate=True, dataset="voc07", eval_mode="11points", logger="silent")
            aps.append([100 * float(part["ap"]) for part in eval_map(*case, **options)[1]])
        for i, name in enumerate(ANIMALS):
            mean, std = side["values"][name]
            assert mean == pytest.approx(np.mean(aps, axis=0)[i], abs=2e-5)
            assert std == pytest.approx(np.std(aps, axis=0, ddof=1)[i], abs=5e-5)
        assert side["n"] == 2


def test_iou_of_each_class_is_that_of_its_matrix(folder):
    table = table_of(collected(folder), "segmentation", "per_class")
    matrices = []
    for seed in range(2):
        arrays = npz(folder, f"segmentation-smooth-{seed}", "confusion.npz")
        matrix = np.zeros((5, 5))
        np.add.at(matrix, (arrays["truth"], arrays["found"]), arrays["pixels"])
        matrices.append(matrix)
    ious = [100 * np.diag(m) / np.maximum(m.sum(0) + m.sum(1) - np.diag(m), 1) for m in matrices]
    for i, name in enumerate(STUFF[:4]):
        assert table["recipes"]["smooth"]["values"][name] == pytest.approx([np.mean(ious, 0)[i], np.std(ious, 0, ddof=1)[i]])
    assert table["recipes"]["smooth"]["values"]["elm"] == [None, None]


def test_top1_of_each_class_is_a_mean(folder):
    values = table_of(collected(folder), "classification", "per_class")["recipes"]["b_standard"]["values"]
    runs = [npz(folder, f"classification-b_standard-{seed}", "ranks.npz") for seed in range(2)]
    for i, name in enumerate(ANIMALS):
        tops = [100 * np.mean(arrays["rank"][arrays["label"] == i] == 0) for arrays in runs]
        assert values[name] == pytest.approx([np.mean(tops), np.std(tops, ddof=1)])


@pytest.mark.parametrize(("classes", "shown"), [(50, True), (51, False), (0, False)])
def test_many_classes_or_none_with_a_name_have_no_table(tmp_path, classes, shown):
    labels = np.arange(max(classes, 2) - 1, dtype=np.uint16)  # the last class has no image
    write_npz(tmp_path / "ranks.npz", rank=np.zeros(len(labels), np.uint16), label=labels)
    if classes:
        write_json(tmp_path / "card/card.json", {"source": {"class_names": [f"c{i}" for i in range(classes)]}})
    tables = classification.details(tmp_path, {"per_image": "ranks.npz"})
    assert bool(tables) == shown
    if shown:
        assert list(tables["per_class"]["values"].values()) == [100.0] * 49 + [None]


def test_parts_of_images_are_the_figures_of_the_record():
    metrics = {"pixAcc": 60.0, "mIoU": 30.0, "mAcc": 40.0, "mIoU_boundary": 20.0, "pixAcc_interior": 70.0, "mIoU_rare": 5.0}
    parts = segmentation.details(Path(), {"metrics": metrics})["parts"]["values"]
    assert parts == {name: value for name, value in metrics.items() if name != "mAcc"}


# --- mAP lost by each kind of error -------------------------------------------------------------------------


def lost(detected: list, truth: list, classes: int = 2) -> dict:
    """Return ``lost_map`` of boxes that all belong to one image."""
    detected_rows, boxes = ([(0, *row) for row in rows] for rows in (detected, truth))
    return lost_map(as_boxes(detected_rows, "score"), as_boxes(boxes, "difficult"), classes)


@pytest.mark.parametrize(
    ("detection", "kind"),
    [((FOUR_TENTHS, 0, 0.9), "localisation"), ((SQUARE, 1, 0.9), "classification")],
)
def test_fixing_the_only_error_recovers_the_whole_map(detection, kind):
    assert lost([detection], [(SQUARE, 0, False)]) == dict.fromkeys(KINDS, 0.0) | {kind: 100.0, "missed": 0.0}


def test_a_false_alarm_before_a_hit_costs_its_precision():
    for box, label, kind in ((AWAY, 0, "background"), (LESS, 0, "background"), (FOUR_TENTHS, 1, "both")):
        truth = [(SQUARE, 0, False), ([200.0, 200.0, 209.0, 209.0], 1, False)]
        detections = [(SQUARE, 0, 0.5), ([200.0, 200.0, 209.0, 209.0], 1, 0.5), (box, label, 0.9)]
        assert lost(detections, truth)[kind] == pytest.approx(25.0)  # of two classes one goes from 50 to 100
    assert lost([(SQUARE, 0, 0.9), (SQUARE, 0, 0.8)], [(SQUARE, 0, False)])["duplicate"] == 0.0  # behind the last hit


def test_missed_objects_no_longer_count():
    truth = [(SQUARE, 0, False), (AWAY, 0, False)]
    assert lost([(SQUARE, 0, 0.9)], truth, 1)["missed"] == pytest.approx(100 - 100 * 6 / 11)
    assert lost([], truth, 1)["missed"] is None  # nothing is left to measure


def test_of_two_fixed_onto_one_box_only_the_better_counts_and_none_if_the_box_has_a_hit():
    twice = [(FOUR_TENTHS, 0, 0.9), (FOUR_TENTHS, 0, 0.8)]
    assert lost(twice, [(SQUARE, 0, False)], 1)["localisation"] == pytest.approx(100.0)
    truth = [(SQUARE, 0, False), (AWAY, 0, False)]
    detections = [(FOUR_TENTHS, 0, 0.9), (SQUARE, 0, 0.8), (AWAY, 0, 0.7)]
    assert lost(detections, truth, 1)["localisation"] == pytest.approx(100 - 100 * 2 / 3)


def lost_by_loop(detections: list, truth: list, classes: int) -> dict:
    """Compute ``lost_map`` by a loop over detections."""
    kinds, missed = loop(detections, truth, -1.0, 0.5, 0.1)

    def target(detection: tuple, same_class: bool) -> int:
        image, box, label, _ = detection
        ious = [devkit_iou(box, t[1]) if t[0] == image and not t[3] and (t[2] == label) == same_class else -1.0 for t in truth]
        return int(np.argmax(ious))

    hits = {target(d, True) for d, kind in zip(detections, kinds, strict=True) if kind == "hit"}
    result = {}
    for kind in (*KINDS, "missed"):
        hit_targets, fixed = set(hits), {}
        for k in sorted(range(len(detections)), key=lambda k: -detections[k][3]):
            if kinds[k] != kind:
                fixed[k] = detections[k]
            elif kind in ("localisation", "classification"):
                aim = target(detections[k], kind == "localisation")
                if aim not in hit_targets:
                    hit_targets.add(aim)
                    fixed[k] = (detections[k][0], truth[aim][1], truth[aim][2], detections[k][3])
        remaining = [t for t, gone in zip(truth, missed, strict=True) if not (kind == "missed" and gone)]
        rows = [fixed[k] for k in sorted(fixed)]
        fixed_aps = [devkit_ap(rows, remaining, c, "11-point", 0.5) for c in range(classes)]
        base_aps = [devkit_ap(detections, truth, c, "11-point", 0.5) for c in range(classes)]
        pairs = zip(fixed_aps, base_aps, strict=True)
        gains = [fixed_ap - base for fixed_ap, base in pairs if fixed_ap is not None and base is not None]
        result[kind] = np.mean(gains) if gains else None
    return result


def test_map_lost_is_that_of_a_plain_loop():
    rng, seen = np.random.default_rng(5), {}
    for _ in range(60):
        detections, truth = made_boxes(rng, int(rng.integers(1, 8)))
        result = lost_map(as_boxes(detections, "score"), as_boxes(truth, "difficult"), 3)
        expected = lost_by_loop(detections, truth, 3)
        assert result.keys() == expected.keys()
        for kind, value in expected.items():
            assert result[kind] == (None if value is None else pytest.approx(value, abs=1e-9))
            seen[kind] = seen.get(kind, 0) + bool(value)
    assert min(seen.values()) > 5


def test_the_detectors_table_has_the_map_lost(folder):
    arrays = npz(folder, "detection-smooth-0", "detections.npz")
    rows = read_rows(folder)
    details = collect_details([r for r in rows if r["run"] == "detection-smooth-0"], run_folders(load_results(folder), folder))
    detections = [
        tuple(arrays[f"det_{k}"][i].tolist() for k in ("image", "box", "label", "score")) for i in range(len(arrays["det_image"]))
    ]
    truth = [
        tuple(arrays[f"gt_{k}"][i].tolist() for k in ("image", "box", "label", "difficult"))
        for i in range(len(arrays["gt_image"]))
    ]
    values = table_of(details, "detection", "lost")["recipes"]["smooth"]["values"]
    assert {kind: mean for kind, (mean, _) in values.items()} == pytest.approx(lost_by_loop(detections, truth, 3))


# --- collecting ---------------------------------------------------------------------------------------------


def details_of(rows: list[tuple], tables: dict[str, dict], **about) -> dict:
    """Collect the details of (recipe, network, pretrain seed, finetune seed, run) rows; ``tables`` has the values of runs."""
    common = dict(task="detection", protocol="p", split="test", status="done")
    names = ("recipe", "network", "pretrain_seed", "finetune_seed", "run")
    table = dict(title="T", note="N.", digits=1, gains=True) | about
    fake = {run: {"t": table | {"values": values}} for run, values in tables.items()}
    records = {Path(run): {"fake": run_tables} for run, run_tables in fake.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detection.breakdowns.details", lambda folder, record: record["fake"])
        return collect_details(
            [common | dict(zip(names, row, strict=True)) for row in rows], {run: Path(run) for run in fake}, records.get
        )


def test_fine_tunings_of_a_pretraining_are_averaged_first():
    rows = [("a", "n", 0, 0, "r0"), ("a", "n", 0, 100, "r1"), ("a", "n", 1, 1, "r2"), ("a", "n", 1, 1, "r2")]
    tables = {"r0": {"x": 10.0, "y": None}, "r1": {"x": 20.0, "y": None}, "r2": {"x": 27.0, "y": 4}}
    (table,) = details_of(rows, tables)["tables"]
    assert table["recipes"]["a"]["n"] == 2
    assert table["recipes"]["a"]["values"] == {"x": [21.0, pytest.approx(np.std([15, 27], ddof=1))], "y": [4.0, None]}


def test_runs_from_scratch_count_by_their_own_seed():
    (table,) = details_of([("scratch", "n", "", 0, "r0"), ("scratch", "n", "", 1, "r1")], {"r0": {"x": 1.0}, "r1": {"x": 3.0}})[
        "tables"
    ]
    assert table["recipes"]["scratch"] == {"n": 2, "values": {"x": [2.0, pytest.approx(2**0.5)]}}


def test_a_run_that_two_recipes_share_stands_in_both_and_networks_stand_apart():
    rows = [("a", "n", 0, 0, "r0"), ("b", "n", 0, 0, "r0"), ("a", "m", 0, 0, "r1"), ("a", "n", 1, 1, "gone")]
    details = details_of(rows, {"r0": {"x": 1.0}, "r1": {"x": 2.0}})
    assert [(t["network"], list(t["recipes"])) for t in details["tables"]] == [("n", ["a", "b"]), ("m", ["a"])]
    shown = detail_tables(details, Results({"recipes": ["a", "b"], "metrics": []}, []))
    assert [table.title for table in shown] == ["T (n)", "T (m)"]


def test_runs_that_diverged_or_are_missing_are_left_out(tmp_path):
    folder = made_study(tmp_path, diverged=("detection-smooth-1",))
    for file in (folder.parent / "runs/detection-b_standard-0").iterdir():
        file.unlink()
    recipes = table_of(collected(folder), "detection", "errors")["recipes"]
    assert {recipe: side["n"] for recipe, side in recipes.items()} == {"b_standard": 1, "smooth": 1}
    assert all(std is None for side in recipes.values() for _, std in side["values"].values())


FOURTH = """def details(folder, record):
    return {"t": {"title": "Fourth", "note": "", "digits": 0, "gains": False, "values": {"x": record["x"]}}}
"""


def test_a_fourth_task_needs_no_edit_in_the_tools(tmp_path, monkeypatch):
    (tmp_path / "detailed").mkdir()
    (tmp_path / "detailed/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    row = dict(task="detailed", network="n", protocol="p", split="s", recipe="a", run="r", status="done")
    row |= dict(pretrain_seed="0", finetune_seed="")
    assert part_of("detailed", "breakdowns") is None
    assert collect_details([row], {"r": tmp_path}, lambda folder: {"x": 3}) == {"tables": []}
    (tmp_path / "detailed/breakdowns.py").write_text(FOURTH)
    importlib.invalidate_caches()
    (table,) = collect_details([row], {"r": tmp_path}, lambda folder: {"x": 3})["tables"]
    assert table["title"] == "Fourth" and table["recipes"] == {"a": {"n": 1, "values": {"x": [3.0, None]}}}


# --- showing ------------------------------------------------------------------------------------------------


def test_recipes_are_columns_and_the_last_is_what_the_best_gained(folder):
    results, details = load_results(folder), json.loads(json.dumps(collected(folder), allow_nan=False))
    shown = {table.title: table for table in detail_tables(details, results)}
    titles = ["Top-1 of each class", "AP of each class", "mAP lost by each kind of error", "Errors of the detectors"]
    assert list(shown) == [*titles, "IoU of each class", "Boundaries, and rare classes"]
    table = shown["AP of each class"]
    assert table.header == ["", "b_standard (n=2)", "+ smooth (n=2)", "+ smooth over b_standard"] and table.align == "lrrr"
    sides = table_of(details, "detection", "per_class")["recipes"]
    for row, name in zip(table.rows, ANIMALS, strict=True):
        (a, s), (b, t) = sides["b_standard"]["values"][name], sides["smooth"]["values"][name]
        assert row == [name, f"{a:.1f} ± {s:.1f}", f"{b:.1f} ± {t:.1f}", f"{b - a:+.1f}"]  # the seeds spread by more than a point
    assert [row[0] for row in shown["IoU of each class"].rows] == list(STUFF[:4])  # no elm is true
    assert "Rows without a number in any column are left out: 1." in shown["IoU of each class"].note
    assert len(shown["Errors of the detectors"].header) == 3


def test_synthetic_classes_have_their_own_names_at_scale_toy_alone():
    values = {f"class {i}": [float(i), 0.5] for i in range(1, 151)}
    place = dict(task="segmentation", network="fcn", protocol="p", split="val", name="per_class")
    entry = place | dict(title="IoU", note="", digits=2, gains=True, recipes={"a": {"n": 2, "values": values}})
    names = {}
    for scale in ("toy", "mini"):
        results = Results(dict(name="s", scale=scale, recipes=["a"], metrics=[], reference="a"), [])
        (table,) = detail_tables({"tables": [entry]}, results)
        names[scale] = {row[1]: row[0] for row in table.rows}
    assert names["mini"] == {f"{i}.00 ± 0.50": f"class {i}" for i in range(1, 151)}
    differ = {shown: name for shown, name in names["toy"].items() if names["mini"][shown] != name}
    assert differ == {f"{number}.00 ± 0.50": name for name, number in ADE_IDS.items()}


def test_scratch_is_never_the_best():
    rows = [(recipe, "n", "" if recipe == "scratch" else 0, 0, recipe) for recipe in ("base", "scratch", "good")]
    tables = {"base": {"x": 1.0}, "scratch": {"x": 9.0}, "good": {"x": 3.0}}
    results = Results({"recipes": ["base", "scratch", "good"], "metrics": [], "reference": "base"}, [])
    (table,) = detail_tables(details_of(rows, tables), results)
    assert table.header[-1] == "good over base" and table.rows == [["x", "1.0", "9.0", "3.0", "+2.0"]]


def test_a_study_of_the_reference_and_scratch_has_no_gains():
    rows = [("base", "n", 0, 0, "base"), ("scratch", "n", "", 0, "scratch")]
    results = Results({"recipes": ["base", "scratch", "good"], "metrics": [], "reference": "base"}, [])
    (table,) = detail_tables(details_of(rows, {"base": {"x": 1.0}, "scratch": {"x": 9.0}}), results)
    assert table.header == ["", "base (n=1)", "scratch (n=1)"]


@pytest.mark.parametrize(("classes", "tables"), [(25, 1), (26, 2)])
def test_a_long_table_comes_behind_its_largest_gains_and_losses(classes, tables):
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(classes)]
    base, good = ({name: float(v) for name, v in zip(names, rng.uniform(0, 50, classes), strict=True)} for _ in range(2))
    good = {name: value + 9 for name, value in good.items()}
    results = Results({"recipes": ["base", "good"], "metrics": [], "reference": "base"}, [])
    shown = detail_tables(details_of([("base", "n", 0, 0, "r"), ("good", "n", 0, 0, "s")], {"r": base, "s": good}), results)
    assert len(shown) == tables and [row[0] for row in shown[-1].rows] == names
    if tables == 2:
        order = sorted(names, key=lambda name: base[name] - good[name])
        assert [row[0] for row in shown[0].rows] == [*order[:5], *order[:-6:-1]]
        assert shown[0].title == "T: largest gains and losses"


def test_neither_torch_nor_mmengine_is_loaded(folder):
    code = (
        "import sys, json; from pathlib import Path; "
        "from tools.engine.analysis.breakdowns import collect_details, run_folders; "
        "from tools.engine.reporting.breakdown_tables import detail_tables; "
        "from tools.engine.analysis.results import load_results; "
        f"folder = Path({str(folder)!r}); results = load_results(folder); "
        "found = collect_details(results.rows, run_folders(results, folder)); "
        f"(folder / {DETAILS!r}).write_text(json.dumps(found)); print(len(detail_tables(found, results))); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["6", "[]"]
