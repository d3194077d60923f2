"""Test the pictures of a segmentation run: palette, hatching, names, scores and refusals, and what all pictures share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from backbones.common.drawing import FONT, GROUND, draw_tag, evenly_spaced, fitted, read_rgb, shorten
from backbones.common.files import write_json
from segmentation import visualization as pictures
from segmentation.visualization import GAP, HATCH, HEAD, IGNORED, PANEL, own_names, percent, picture, scores
from tests.helpers.show_segmentation import CAR, SIZE, TREE, WALL, add_image, panel, save, truth_of
from tests.helpers.show_segmentation import run as run
from tools.engine.config import resolve
from tools.engine.reporting.image_sheets import show
from tools.engine.run_folder import SHEET

CLASSES, COLOURS = ("wall", "tree", "car "), (WALL, TREE, CAR)


def draw(run: Path, num: int) -> list[Image.Image]:
    return pictures.pictures(resolve(run / "config.py").cfg, [run], num)


def colours(array: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, array.reshape(-1, 3).tolist()))


# --- what is drawn ------------------------------------------------------------------------------------------


def test_each_pixel_has_the_colour_of_its_class_and_ignored_ones_are_hatched(run):
    triple = draw(run, 1)[0]
    photo, truth, predicted = (panel(triple, i) for i in range(3))
    assert np.abs(photo.astype(int) - 200).max() <= 2
    assert colours(truth[:210, :168]) == {WALL} and colours(truth[:210, 168:]) == {CAR}
    assert colours(truth[210:]) == set(HATCH) and all(len(set(colour)) == 1 for colour in HATCH)
    assert colours(predicted) == {WALL}  # on ignored pixels too, since they have predictions


def test_hatching_is_no_colour_of_ade20k():
    from segmentation.data import ADE20KDataset

    assert not set(HATCH) & set(map(tuple, ADE20KDataset.METAINFO["palette"]))


def test_names_of_the_largest_classes_are_below_in_their_colour(run):
    triple = draw(run, 1)[0]
    below = np.array(triple)[HEAD + PANEL[1] :]
    starts = [i * (PANEL[0] + GAP) for i in (0, 1, 2)]
    photo, truth, predicted = (colours(below[:, x : x + PANEL[0]]) for x in starts)
    assert photo == {(255, 255, 255)} and WALL in truth and CAR in truth and WALL in predicted and CAR not in predicted


@pytest.fixture
def named():
    """Return a function that writes the names below a panel for a mask, and returns them."""
    canvas = ImageDraw.Draw(Image.new("RGB", (500, 60)))
    return lambda ids, classes=CLASSES: pictures.name_largest(canvas, 0, 0, ids, classes, [*COLOURS] * 50)


def test_the_synthetic_classes_have_their_own_names(run, monkeypatch):
    root = run.parent / "ade"
    assert own_names(root, ["wall", "building", "sky"]) == ["wall", "building", "sky"]
    write_json(run.parent / "toy.json", {"ade_ids": {"solid_disc": 1, "waves": 3}})
    assert own_names(root, ["wall", "building", "sky"]) == ["solid_disc", "building", "waves"]
    seen = []
    monkeypatch.setattr("segmentation.visualization.name_largest", lambda *args: seen.append(args[4]))
    show(run, 1)
    assert {names[0] for names in seen} == {"solid_disc"} and {names[1] for names in seen} == {"building"}
    (run.parent / "toy.json").write_text("{")
    with pytest.raises(ValueError, match="toy.json cannot be read .*; make the data again: tools/prepare_data.py toy"):
        own_names(root, ["wall"])


def test_names_come_by_size_and_small_classes_have_none(named):
    ids = np.repeat(np.array([1, 2, 0, IGNORED], np.uint8), [300, 500, 9, 191]).reshape(10, 100)
    assert named(ids) == ["car 50 %", "tree 30 %"]
    assert named(np.full((3, 3), IGNORED, np.uint8)) == []
    lone = np.full((50, 50), IGNORED, np.uint8)
    lone[0, 0] = 1
    assert named(lone) == ["tree <1 %"]  # the largest has its name, however small


def test_names_fill_two_rows_at_most(named):
    ids = np.arange(60, dtype=np.uint8).reshape(6, 10)
    written = named(ids, [f"class number {i}" for i in range(60)])
    assert 4 <= len(written) <= 8 and written[0] == "class number 0 2 %"


@pytest.mark.parametrize("share, text", [(0, "0 %"), (0.001, "<1 %"), (0.006, "1 %"), (0.996, "100 %"), (0.5, "50 %")])
def test_a_small_share_is_never_written_as_zero_percent(share, text):
    assert percent(share) == text


def test_scores_of_an_image_agree_with_numpy():
    rng = np.random.default_rng(0)
    truth, predicted = rng.choice([0, 1, 2, IGNORED], (40, 30)), rng.integers(0, 4, (40, 30))
    seen = truth != IGNORED
    right = np.mean(truth[seen] == predicted[seen])
    ious = [np.sum(seen & (truth == k) & (predicted == k)) / np.sum(seen & ((truth == k) | (predicted == k))) for k in (0, 1, 2)]
    assert scores(predicted, truth, 4) == pytest.approx((100 * right, 100 * np.mean(ious)))
    assert scores(predicted, np.full_like(truth, IGNORED), 4) is None


def test_scores_are_written_above_the_prediction(monkeypatch):
    written = []
    monkeypatch.setattr(pictures, "shorten", lambda text, width: written.append(text) or text)
    truth = np.array([[0, 1, 1, IGNORED]], np.uint8)
    picture(Image.new("RGB", (4, 1)), "name", truth, [np.array([[0, 1, 2, 2]], np.uint8)], CLASSES, COLOURS)
    assert written == ["name", "true classes: 2, not labelled: 25 %", "predicted classes: 3, pixAcc 66.7, mIoU 75.0"]
    picture(Image.new("RGB", (4, 1)), "name", truth | IGNORED, [truth % 2], CLASSES, COLOURS)
    assert written[-1] == "predicted classes: 2, nothing to compare with"
    assert written[-2] == "true classes: 0, not labelled: 100 %"


@pytest.mark.parametrize(
    "size, shape", [((1, 1), ()), ((3, 2), (3,)), ((2600, 1700), (3,)), ((1500, 2), (3,)), ((2, 900), (3,)), ((40, 30), ())]
)
def test_tiny_large_thin_and_grey_images_are_drawn(run, size, shape):
    grid = size[::-1]
    add_image(run, "a_first", np.full((*grid, *shape), 90), truth_of(size), np.full(grid, 5))
    triple = draw(run, 1)[0]
    assert triple.size == draw(run, 2)[1].size
    assert TREE in colours(panel(triple, 2)) and HATCH[0] in colours(panel(triple, 1))
    wide, high = fitted(size, PANEL)[0]
    assert (panel(triple, 2) == TREE).all(-1).sum() == wide * high


# --- which images -------------------------------------------------------------------------------------------


def test_images_are_spread_over_those_that_were_kept(run, monkeypatch):
    monkeypatch.setattr(pictures, "picture", lambda image, name, *rest: name)
    assert draw(run, 3) == ["im_0", "im_2", "im_4"]
    assert draw(run, 1) == ["im_0"]
    (run / "masks/im_4.png").unlink()  # its image stays, but only images with a mask can be shown
    assert draw(run, 100) == ["im_0", "im_1", "im_2", "im_3"]


def test_a_sheet_is_the_same_each_time(run, tmp_path):
    first = show(run, 12)
    assert first == run / SHEET and CAR in colours(np.array(Image.open(first)))
    assert show(run, 12, tmp_path / "again.png").read_bytes() == first.read_bytes()


# --- refusals -----------------------------------------------------------------------------------------------


def damage(path: str, content=None):
    """Return a function that removes a file or, with ``content``, writes another mask in its place."""
    return lambda home: (home / path).unlink() if content is None else save(home / path, content)


WRONG = [
    (damage("ade/images/validation/im_0.jpg"), r"images/validation/im_0.jpg is missing, .* complete the data"),
    (damage("ade/annotations/validation/im_0.png"), r"annotations/validation/im_0.png is missing, .* complete the data"),
    (
        damage("run/masks/im_0.png", np.ones((7, 9))),
        r"masks/im_0.png has 9 x 7 pixels, and .*annotations/validation/im_0.png has 8 x 6: .* run it again, or bring that data",
    ),
    (damage("ade/images/validation/im_0.jpg", np.ones((6, 5))), r"images/validation/im_0.jpg has 5 x 6 pixels, and "),
    (
        damage("run/masks/im_0.png", np.zeros(SIZE[::-1])),
        r"masks/im_0.png has the id 0, which no prediction has; do the run again",
    ),
    (damage("ade/annotations/validation/im_0.png", np.full(SIZE[::-1], 151)), r"has the id 151; allowed: 0 .* and 1..150"),
    (lambda home: (home / "ade/images/validation/im_0.jpg").write_bytes(b"no"), "im_0.jpg cannot be decoded .*complete the data"),
    (lambda home: (home / "run/masks/im_0.png").write_bytes(b"no"), "masks/im_0.png cannot be decoded"),
]


@pytest.mark.parametrize("harm, sentence", WRONG)
def test_what_does_not_belong_together_is_refused(run, harm, sentence):
    harm(run.parent)
    with pytest.raises(ValueError, match=sentence):
        show(run, 1)
    assert not (run / SHEET).exists()


@pytest.mark.parametrize("folder", [True, False])
def test_a_run_without_masks_is_refused(run, folder):
    for path in (run / "masks").iterdir():
        path.unlink()
    if not folder:
        (run / "masks").rmdir()
    with pytest.raises(ValueError, match=r"kept no predictions \(masks/\*.png\), as older runs did not; run it again, or test"):
        show(run, 1)


# --- what all pictures share --------------------------------------------------------------------------------


def test_indices_are_spread_with_both_ends():
    assert evenly_spaced(10, 4) == [0, 3, 6, 9]
    assert evenly_spaced(3, 12) == [0, 1, 2] and evenly_spaced(1, 5) == [0] and evenly_spaced(9, 1) == [0]


def test_an_image_fits_its_panel_and_never_vanishes():
    assert fitted((100, 50), (200, 200)) == ((200, 100), (0, 50))
    assert fitted((1000, 1), (200, 100)) == ((200, 1), (0, 49))


def test_a_long_name_loses_its_middle():
    assert shorten("short.jpg", 200) == "short.jpg"
    short = shorten("a_very_long_name_of_a_file_in_some_data_set_0001", 120)
    assert short.startswith("a_very") and short.endswith("0001") and "..." in short and FONT.getlength(short) <= 120
    assert shorten("wide", 1) == "..."


@pytest.mark.parametrize(
    "ground, ink", [((0, 0, 255), "white"), (WALL, "white"), (TREE, "black"), ((255, 255, 0), "black"), ((255, 0, 0), "white")]
)
def test_names_are_black_or_white_whichever_reads_better(ground, ink):
    canvas = Image.new("RGB", (60, 20), GROUND)
    draw_tag(ImageDraw.Draw(canvas), 2, 2, "name", ground)
    inner = np.array(canvas)[4:16, 4:34].reshape(-1, 3).astype(int).sum(1)
    assert (inner.max() == 765) == (ink == "white") and (inner.min() == 0) == (ink == "black")


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "RGB"])
def test_an_image_of_any_mode_is_read_as_rgb(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.new("RGB", (5, 4), "white").convert(mode).save(path)
    image = read_rgb(path, "replace it")
    assert image.mode == "RGB" and image.size == (5, 4)


def test_an_image_that_cannot_be_read_is_named_with_its_remedy(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:900])
    for name in ("absent.png", "cut.png"):
        with pytest.raises(ValueError, match=rf"{name} cannot be decoded \(.*\); replace it\."):
            read_rgb(tmp_path / name, "replace it")
