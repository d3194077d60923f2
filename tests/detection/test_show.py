"""Test the pictures of a run: what they show, that hits and false alarms look different, and what is refused."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.files import write_json, write_npz
from backbones.common.project import ROOT
from detection.visualization import ALARM, HIT, IGNORED, PANEL, Panel, _detections, colour_of, picture, shown
from tests.helpers.show import CLASSIFIER, DETECTOR, TRUE, boxes, colours, make_run, rgb
from tests.helpers.show import classified as classified
from tests.helpers.show import detected as detected
from tests.helpers.show import world as world
from tools.engine.config import Options, RunKey, resolve
from tools.engine.reporting.image_sheets import finished_run, pictures_of, sheet, show
from tools.engine.run_folder import SHEET
from tools.engine.studies.about import about
from tools.engine.studies.node import Node
from tools.engine.studies.study import load_study

# --- detection ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row, score, seen",
    [
        ((10, 10, 50, 50, 0), 0.9, {HIT}),
        ((10, 10, 50, 50, 1), 0.9, {ALARM}),
        ((60, 60, 90, 90, 1), 0.9, {IGNORED}),
        ((0, 0, 9, 9, 0), 0.1, {ALARM}),  # no score reaches 0.3, so the best are shown
    ],
)
def test_hits_false_alarms_and_ignored_detections_have_their_own_border(row, score, seen):
    detections = boxes(row, score=[score])
    drawn = picture(Image.new("RGB", (100, 100), "white"), "name", [detections], TRUE, ("cat", "dog"), 0.5)
    right = colours(drawn.crop((PANEL[0], 0, *drawn.size)))
    assert {colour for colour in (HIT, ALARM, IGNORED) if rgb(colour) in right} == seen
    assert {colour_of(0), colour_of(1)} <= colours(drawn.crop((0, 0, PANEL[0], drawn.height)))
    assert colour_of(row[4]) in right and colour_of(1 - row[4]) not in right


def test_a_second_detection_of_an_object_is_a_false_alarm():
    detections = boxes((10, 10, 50, 50, 0), (11, 10, 50, 50, 0), score=[0.5, 0.8])
    seen = colours(picture(Image.new("RGB", (100, 100)), "name", [detections], TRUE, ("cat", "dog"), 0.5))
    assert rgb(HIT) in seen and rgb(ALARM) in seen


def test_detections_are_shown_from_the_threshold_on_or_the_best_ones():
    rows = [(0, 0, 9, 9, 0)] * 5
    assert shown(boxes(*rows, score=[0.1, 0.5, 0.3, 0.2, 0.29]), 2).tolist() == [2, 1]
    assert shown(boxes(*rows, score=[0.1, 0.2, 0.05, 0.25, 0.01]), 2).tolist() == [0, 1, 3]
    assert shown(boxes(score=[]), 2).tolist() == []


def test_an_image_shows_at_most_three_detections_more_than_it_has_objects():
    scores = [0.3 + i / 100 for i in range(24)]
    detections = boxes(*[(10 + i, 10, 50 + i, 50, 0) for i in range(24)], score=scores)
    assert shown(detections, 2).tolist() == [19, 20, 21, 22, 23] and shown(detections, 0).tolist() == [21, 22, 23]
    panel, text = _detections(Image.new("RGB", (100, 100)), detections, TRUE, ("cat", "dog"), 0.5)
    assert 0 < len(panel.tags) <= 5 and text == "score >= 0.3: 24, shown: the best 5, hits: 0"


def test_an_image_without_objects_or_detections_is_drawn():
    truth, detections = boxes(difficult=np.zeros(0, bool)), boxes(score=np.zeros(0))
    drawn = picture(Image.new("RGB", (500, 20)), "name", [detections], truth, ("cat", "dog"), 0.5)
    assert not {rgb(HIT), rgb(ALARM), rgb(IGNORED)} & colours(drawn)


def test_a_box_lies_where_it_should_and_a_dashed_one_has_gaps():
    panel = Panel(Image.new("RGB", (PANEL[0] // 2, PANEL[1] // 2), "white"))
    panel.outline(np.array([10, 20, 49, 59]), "#ff0000", False)
    pixels = np.argwhere((np.array(panel.canvas) == (255, 0, 0)).all(-1))
    assert np.allclose([*pixels.min(0), *pixels.max(0)], [40, 20, 119, 99], atol=1)
    lengths = []
    for dashed in (False, True):
        panel = Panel(Image.new("RGB", PANEL, "white"))
        panel.outline(np.array([10, 20, 49, 59]), "#ff0000", dashed)
        lengths.append((np.array(panel.canvas) == (255, 0, 0)).all(-1).sum())
    assert 0.3 < lengths[1] / lengths[0] < 0.7


def test_labels_keep_off_each_other_while_there_is_room():
    panel, box = Panel(Image.new("RGB", (100, 100))), np.array([20, 30, 70, 80])
    for _ in range(10):
        panel.tag(box, "cat", colour_of(0), needed=False)
    assert len(panel.tags) == len(set(panel.tags)) == 8
    panel.tag(box, "dog", colour_of(1), needed=True)
    assert len(panel.tags) == 9
    panel.tag(np.array([-40, -20, 300, 5]), "a very long name", colour_of(1), needed=True)
    x, y, wide, high = panel.tags[-1]
    assert x >= 0 and y >= 0 and x + wide <= PANEL[0] and y + high <= PANEL[1]


def test_classes_have_colours_of_their_own():
    assert len({colour_of(label) for label in range(20)}) == 20


def test_a_detectors_sheet_shows_hits_and_has_the_same_bytes_each_time(detected):
    first = show(detected, 12)
    assert first == detected / SHEET
    image = Image.open(first)
    assert image.format == "PNG" and rgb(HIT) in colours(image) and rgb(ALARM) not in colours(image)
    again = show(detected.name, 12, Path("elsewhere/again.png"))
    assert again.read_bytes() == first.read_bytes()
    assert len(pictures_of("detection").pictures(resolve(detected / "config.py").cfg, [detected], 2)) == 2


def test_the_script_prints_the_path(detected, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script changes it
    script = importlib.import_module("tools.show")
    monkeypatch.setattr(sys, "argv", ["show.py", detected.name, "--num", "1", "--out", "one.png"])
    script.show()
    assert capsys.readouterr().out == "one.png\n" and Path("one.png").is_file() and not (detected / SHEET).exists()


def test_data_that_the_run_was_not_tested_on_is_refused(detected):
    with np.load(detected / "detections.npz") as saved:
        arrays = dict(saved)
    arrays["gt_box"] = arrays["gt_box"] + 1
    write_npz(detected / "detections.npz", **arrays)
    with pytest.raises(ValueError, match="has other boxes than the run in .* was tested on; run it again"):
        show(detected, 1)
    assert not (detected / SHEET).exists()


# --- classification and other tasks -------------------------------------------------------------------------


def test_a_sheet_of_a_classifier_tells_right_from_wrong(classified):
    from classification import visualization as pictures

    assert show(classified, 100) == classified / SHEET
    drawn = pictures.pictures(resolve(classified / "config.py").cfg, [classified], 100)
    assert len(drawn) == 8
    for i, image in enumerate(drawn):
        border = {rgb(pictures.RIGHT), rgb(pictures.WRONG)} & colours(image)
        assert border == {rgb(pictures.WRONG if i % 2 else pictures.RIGHT)}


def test_validation_images_that_the_run_was_not_tested_on_are_refused(classified):
    write_npz(classified / "ranks.npz", rank=np.zeros(7, np.uint16), label=np.arange(7, dtype=np.uint16))
    with pytest.raises(ValueError, match="holds other images than the run in .* was tested on"):
        show(classified, 4)


FOURTH = """from PIL import Image

legend = lambda cfg: "All red."
pictures = lambda cfg, folders, num: [Image.new("RGB", (9, 9), "red")] * num
"""


@pytest.fixture
def fourth(tmp_path, monkeypatch) -> Iterator[Path]:
    """Make a fourth task without pictures, and return its package."""
    package = tmp_path / "fourth"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "task.py").write_text("METRICS = ('top1',)\n")
    for name in ("classification", "detection", "segmentation"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr("tools.engine.config.tasks.ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "fourth"]:
        del sys.modules[name]


def test_a_task_without_pictures_is_refused(fourth):
    folder = make_run("fourth", CLASSIFIER, "record.json")
    refusal = r"task fourth cannot draw pictures \(no fourth/visualization.py\); .*: classification, detection"
    with pytest.raises(ValueError, match=refusal):
        show(folder, 3)


def test_pictures_of_a_fourth_task_need_no_edit_in_the_tools(fourth):
    (fourth / "visualization.py").write_text(FOURTH)
    importlib.invalidate_caches()
    folder = make_run("fourth", CLASSIFIER, "record.json")
    assert (255, 0, 0) in colours(Image.open(show(folder, 3)))


def test_a_sheet_puts_pictures_in_rows_under_its_head():
    page = sheet([Image.new("RGB", (300, 50), "red")] * 6, ["title " * 100], "legend " * 100)
    red = (np.array(page) == (255, 0, 0)).all(-1)
    assert page.width <= 1400 and red.sum() == 6 * 300 * 50
    assert sorted(set(red.sum(1).tolist())) == [0, 2 * 300, 4 * 300] and red.sum(1)[:100].max() == 0


# --- refusals -----------------------------------------------------------------------------------------------


def test_what_cannot_be_shown_is_refused(detected):
    with pytest.raises(ValueError, match="no finished run detection_runs; give the folder or the key of one .*: detection_run"):
        show("detection_runs", 1)
    record = json.loads((detected / "record.json").read_text())
    write_json(detected / "record.json", record | {"status": "diverged"})
    with pytest.raises(ValueError, match=r"has no detections.npz \(status: diverged\); choose another"):
        show(detected, 1)
    (detected / "record.json").unlink()
    with pytest.raises(ValueError, match="no run in work_dirs/runs has finished"):
        finished_run(detected)


def test_a_study_says_where_the_pictures_of_its_runs_lie(world):
    make_run("detection", DETECTOR, "detections.npz", protocol={"name": "p"}, machine={"device": "cpu", "threads": 1})
    options = Options(backbone="scratch", seed=0)
    node = Node(RunKey("detection_run", {}), "scratch", "", DETECTOR, options, resolve(DETECTOR, options))
    content = about(load_study("configs/studies/demo.py", "toy", ["scratch"]), [(node, node.record)])
    assert content["runs"]["detection_run"]["pictures"] == "../runs/detection_run/pictures.png"
