"""Test pictures of two runs side by side: what they show of each, which pair a study draws, and what is refused."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.files import write_json, write_npz
from detection import visualization as detection
from detection.visualization import HIT, PANEL
from segmentation import visualization as segmentation
from tests.helpers.show import CLASSIFIER, TRUE, boxes, colours, make_run, rgb
from tests.helpers.show import classified as classified  # fixtures
from tests.helpers.show import detected as detected
from tests.helpers.show import world as world
from tests.helpers.show_segmentation import CAR, SIZE, TREE, WALL, save
from tests.helpers.show_segmentation import panel as segmented_panel
from tests.helpers.show_segmentation import run as segmented
from tests.helpers.synthetic_study import made_study, read_rows, write_rows
from tools.engine.analysis.results import load_results
from tools.engine.config import resolve
from tools.engine.reporting import image_sheets as engine
from tools.engine.reporting.image_sheets import best_pair, caption_of, draw_pairs, pair_sheets, show

assert segmented  # a fixture


def panels(image: Image.Image, width: int, gap: int) -> list[set]:
    """Return the colours of each panel of a picture."""
    return [colours(image.crop((x, 0, x + width, image.height))) for x in range(0, image.width, width + gap)]


def other_run(run: Path, name: str) -> Path:
    """Copy a run under another name."""
    copy = shutil.copytree(run, run.parent / name)
    record = json.loads((copy / "record.json").read_text())
    write_json(copy / "record.json", record | {"key": name})
    return copy


# --- what is drawn ------------------------------------------------------------------------------------------


def test_the_detections_of_each_run_have_a_panel_of_their_own():
    hit, alarm = boxes((10, 10, 50, 50, 0), score=[0.9]), boxes((0, 0, 9, 9, 0), score=[0.8])
    drawn = detection.picture(Image.new("RGB", (100, 100), "white"), "name", [hit, alarm], TRUE, ("cat", "dog"), 0.5)
    truth, first, second = panels(drawn, PANEL[0], detection.GAP)
    assert rgb(HIT) in first and rgb(detection.ALARM) not in first
    assert rgb(detection.ALARM) in second and rgb(HIT) not in second
    assert not {rgb(HIT), rgb(detection.ALARM)} & truth
    alone = detection.picture(Image.new("RGB", (100, 100), "white"), "name", [hit], TRUE, ("cat", "dog"), 0.5)
    assert drawn.crop((0, 0, PANEL[0], drawn.height)).tobytes() == alone.crop((0, 0, PANEL[0], alone.height)).tobytes()


def test_both_detectors_are_drawn_on_the_same_images(detected):
    other = other_run(detected, "no_hits")
    with np.load(detected / "detections.npz") as saved:
        write_npz(other / "detections.npz", **dict(saved) | {"det_label": (saved["det_label"] + 1) % 8})
    path = show([detected, other.name], 3)
    assert path == detected / "beside_no_hits.png"
    drawn = detection.pictures(resolve(detected / "config.py").cfg, [detected, other], 3)
    assert len(drawn) == 3
    for image in drawn:
        truth, first, second = panels(image, PANEL[0], detection.GAP)
        assert rgb(HIT) in first and rgb(HIT) not in second and rgb(detection.ALARM) in second


def test_two_segmenters_stand_beside_image_and_truth(segmented):
    other = other_run(segmented, "trees")
    for path in (other / "masks").iterdir():
        save(path, np.full(SIZE[::-1], 5))
    drawn = segmentation.pictures(resolve(segmented / "config.py").cfg, [segmented, other], 2)
    assert len(drawn) == 2 and drawn[0].width == 4 * PANEL[0] + 3 * segmentation.GAP
    seen = [set(map(tuple, segmented_panel(drawn[0], i).reshape(-1, 3).tolist())) for i in (1, 2, 3)]
    assert {WALL, CAR} <= seen[0] and seen[1:] == [{WALL}, {TREE}]
    assert show([segmented, other], 2).is_file()


def test_segmenters_are_shown_where_both_kept_a_mask(segmented, monkeypatch):
    monkeypatch.setattr(segmentation, "picture", lambda image, name, *rest: name)
    other = other_run(segmented, "fewer")
    for i in (0, 3):
        (other / f"masks/im_{i}.png").unlink()
    cfg = resolve(segmented / "config.py").cfg
    assert segmentation.pictures(cfg, [segmented, other], 9) == ["im_1", "im_2", "im_4"]
    for i in (1, 2, 4):
        (other / f"masks/im_{i}.png").rename(other / f"masks/other_{i}.png")
    with pytest.raises(ValueError, match="kept predictions of no image in common; choose two others"):
        segmentation.pictures(cfg, [segmented, other], 9)


def test_each_classifier_has_its_half_of_the_border(classified):
    from classification import visualization as pictures

    other = other_run(classified, "wrong")
    write_npz(other / "ranks.npz", rank=np.full(8, 2, np.uint16), label=np.arange(8, dtype=np.uint16))
    for i, image in enumerate(pictures.pictures(resolve(classified / "config.py").cfg, [classified, other], 8)):
        left, right = (colours(image.crop((x, 0, x + image.width // 2 - 4, pictures.SIDE))) for x in (0, image.width // 2 + 4))
        assert rgb(pictures.WRONG if i % 2 else pictures.RIGHT) in left
        assert rgb(pictures.WRONG) in right and rgb(pictures.RIGHT) not in right


def test_the_head_names_both_runs(classified, monkeypatch):
    heads = []
    monkeypatch.setattr(engine, "sheet", lambda drawn, titles, legend: heads.extend(titles) or drawn[0])
    other_run(classified, "again")
    path = show([classified, "again"], 1)
    start = "classification, net at scale toy, seed 3, run "
    assert [head.split(":")[0] for head in heads] == ["A", "B"]
    assert heads[0].startswith(f"A: {start}classification_run: ") and heads[1].startswith(f"B: {start}again: ")
    assert caption_of(path) == "; ".join(heads)


def test_the_script_draws_two_runs_into_the_folder_of_the_first(classified, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script changes it
    script = importlib.import_module("tools.show")
    other_run(classified, "again")
    monkeypatch.setattr(sys, "argv", ["show.py", "classification_run", "again", "--num", "2"])
    script.show()
    assert capsys.readouterr().out == "work_dirs/runs/classification_run/beside_again.png\n"


def test_runs_that_cannot_stand_side_by_side_are_refused(detected):
    other = make_run("classification", CLASSIFIER, "record.json")
    with pytest.raises(ValueError, match="The runs are of classification and detection; give two of one task"):
        show([detected, other], 1)
    with pytest.raises(ValueError, match="3 runs are named; give one, or two"):
        show([detected] * 3, 1)
    moved = other_run(detected, "moved")
    with np.load(detected / "detections.npz") as saved:
        write_npz(moved / "detections.npz", **dict(saved) | {"gt_box": saved["gt_box"] + 1})
    with pytest.raises(ValueError, match="has other boxes than the run in .*moved was tested on"):
        show([detected, moved], 1)


# --- which pair a study draws -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """Create a study with scratch and a third recipe, which gained most in detection but has no run of seed 0."""
    folder = made_study(tmp_path)
    rows = read_rows(folder)
    for row in [r for r in rows if r["recipe"] == "smooth" and r["task"] != "segmentation"]:
        if row["pretrain_seed"] == "1":
            rows.append(row | {"recipe": "best", "value": "99.0", "run": f"best-{row['task']}-1"})
        if row["task"] == "detection":
            rows.append(row | {"recipe": "scratch", "pretrain_seed": "", "value": "99.9"})
    write_rows(folder, rows)
    study = json.loads((folder / "study.json").read_text())
    write_json(folder / "study.json", study | {"recipes": ["scratch", *study["recipes"], "best"]})
    return folder


def test_the_pair_is_the_reference_and_the_largest_gain_of_a_seed_that_both_have(folder):
    results = load_results(folder)
    caption, *runs = best_pair(results, "detection")
    assert runs == ["detection-b_standard-1", "best-detection-1"]
    shown = "detection by faster_rcnn, seed 1 (runs detection-b_standard-1 and best-detection-1)"
    assert caption == f"A: b_standard and B: best, {shown}"
    assert best_pair(results, "segmentation")[1:] == ("segmentation-b_standard-0", "segmentation-smooth-0")


def test_a_study_of_one_recipe_has_no_pair(folder):
    write_rows(folder, [row for row in read_rows(folder) if row["recipe"] in ("b_standard", "scratch")])
    assert all(best_pair(load_results(folder), task) is None for task in ("classification", "detection", "segmentation"))


def test_pairs_are_drawn_once_for_each_task_and_again_when_they_change(folder, monkeypatch):
    calls, logged = [], []

    def draw(runs, num, out, caption):
        calls.append([Path(run).name for run in runs])
        if "segmentation" in out.name:
            raise ValueError("no masks")
        metadata = engine.PngInfo()
        metadata.add_itxt(engine.CAPTION, caption)
        Image.new("RGB", (4, 4)).save(out, pnginfo=metadata)

    monkeypatch.setattr(engine, "show", draw)
    draw_pairs(folder, logged.append)
    assert len(calls) == 3 and ["detection-b_standard-1", "best-detection-1"] in calls
    assert logged == ["segmentation: no pictures side by side (no masks)"]
    assert [sheet.link for sheet in pair_sheets(folder)] == ["side_by_side_classification.png", "side_by_side_detection.png"]
    assert pair_sheets(folder)[1].caption == best_pair(load_results(folder), "detection")[0]
    draw_pairs(folder, logged.append)
    assert len(calls) == 4  # the one that failed
    write_rows(folder, [row for row in read_rows(folder) if row["recipe"] != "best"])
    draw_pairs(folder, logged.append)
    assert calls[4:] == [
        [f"{task}-{r}-0" for r in ("b_standard", "smooth")] for task in ("classification", "detection", "segmentation")
    ]


def test_a_sheet_that_cannot_be_read_is_drawn_again_and_named_by_its_file(folder):
    (folder / "side_by_side_detection.png").write_bytes(b"no")
    assert caption_of(folder / "side_by_side_detection.png") is None
    assert [sheet.caption for sheet in pair_sheets(folder)] == ["side_by_side_detection"]
    logged = []
    draw_pairs(folder, logged.append)  # the runs of this study have no config
    assert any(text.startswith("detection: no pictures side by side (There is no finished run") for text in logged)
