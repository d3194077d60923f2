"""Pictures of finished runs, for people: an image, its true classes and those that the network of each run gave its pixels."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from backbones.common.drawing import (
    FONT,
    GROUND,
    INK,
    TAG,
    draw_tag,
    evenly_spaced,
    fit,
    fitted,
    read_rgb,
    run_labels,
    shorten,
    tag_width,
)
from segmentation.metrics import confusion, mean_iou, pixel_accuracy

MASKS = "masks"  # in a run's folder: what was predicted for some of the test images, in ADE20K's numbering
IGNORED = 255  # in a mask as it is read; 0 in its file
PANEL, GAP, HEAD = (336, 252), 6, 18  # px: an image at most, between two of them, the line above
ROWS, SHARE = 2, 0.01  # names below a panel: rows of them, and the smallest part of the image that is named
HATCH = ((255, 255, 255), (165, 165, 165))  # ground and stripes of ignored pixels; plain grey is the colour of walls


def legend(cfg) -> str:
    """What the pictures show, for the head of a sheet."""
    return (
        "Left: the image. Next: the truth, hatched where it has no label: what is predicted there does not count. Then, of each "
        "run: the prediction, with the pixAcc of this image and its mIoU over the classes of its truth. Colours and names "
        f"are ADE20K's; below, the largest classes with their part of the image, from {percent(SHARE)} on."
    )


def pictures(cfg, folders: Sequence[Path], num: int) -> list[Image.Image]:
    """Image, truth and predictions of ``num`` test images, spread evenly over those whose prediction every run kept.

    Args:
        cfg: of a finished run.
        folders: of that run, and perhaps of another that stands beside it; their ``masks/*.png`` are read.
        num: how many images; all, where there are fewer.

    Raises:
        ValueError: a run has no masks, or none of an image of which another has one; the test data is missing, or is not what
            the run was tested on.
    """
    saved = _kept(folders)
    with redirect_stdout(sys.stderr):  # mmseg says there what it lacks, and stdout is for the path of the sheet
        from segmentation.data import ADE20KDataset  # here, since mmseg takes seconds to load

    meta, data = ADE20KDataset.METAINFO, cfg.test_dataloader.dataset
    images, masks = (Path(data.data_root) / data.data_prefix[kind] for kind in ("img_path", "seg_map_path"))
    drawn = []
    for name in (saved[i] for i in evenly_spaced(len(saved), num)):
        read = [_read(images / f"{Path(name).stem}.jpg", masks / name, folder / MASKS / name) for folder in folders]
        image, truth, _ = read[0]
        drawn.append(picture(image, Path(name).stem, truth, [mask for *_, mask in read], meta["classes"], meta["palette"]))
    return drawn


def _kept(folders: Sequence[Path]) -> list[str]:
    """The names of the masks that every run kept."""
    found = [{path.name for path in (folder / MASKS).glob("*.png")} for folder in folders]
    for folder, names in zip(folders, found, strict=True):
        if not names:
            raise ValueError(
                f"The run in {folder} kept no predictions ({MASKS}/*.png), as older runs did not; run it again, or test its "
                f"checkpoint with tools/test.py and --out {folder}."
            )
    if not (shared := set.intersection(*found)):
        raise ValueError(
            f"The runs in {' and '.join(map(str, folders))} kept predictions of no image in common; choose two others."
        )
    return sorted(shared)


def _read(photo: Path, mask: Path, saved: Path) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """An image, its truth and what was predicted; raises ValueError unless they are there and belong together."""
    for path in (photo, mask):
        if not path.is_file():
            raise ValueError(f"{path} is missing, and the run that left {saved} was tested on it; complete the data.")
    image, truth, predicted = read_rgb(photo, "complete the data"), read_mask(mask), read_mask(saved)
    if predicted.max() == IGNORED:
        raise ValueError(f"The mask {saved} has the id 0, which no prediction has; do the run again.")
    for path, (high, wide) in ((saved, predicted.shape), (photo, image.size[::-1])):
        if (high, wide) != truth.shape:
            raise ValueError(
                f"{path} has {wide} x {high} pixels, and {mask} has {truth.shape[1]} x {truth.shape[0]}: this is not the data "
                "that the run was tested on; run it again, or bring that data back."
            )
    return image, truth, predicted


def read_mask(path: Path) -> np.ndarray:
    """Classes uint8 (H, W) from 0 on, 255 where ignored; raises ValueError as ``LoadMask`` does."""
    from segmentation.data import LoadMask

    return LoadMask()({"seg_map_path": str(path), "seg_fields": []})["gt_seg_map"]


def scores(predicted: np.ndarray, truth: np.ndarray, classes: int) -> tuple[float, float] | None:
    """pixAcc of one image and its mIoU over the classes of its truth, in percent; None where all of it is ignored."""
    matrix = confusion(predicted, truth, classes)
    return (pixel_accuracy(matrix), mean_iou(matrix)) if matrix.any() else None


def picture(image: Image.Image, name: str, truth: np.ndarray, predicted: Sequence[np.ndarray], classes, palette) -> Image.Image:
    """An image, its truth and the prediction of each run side by side, a line on each, the names of the largest classes below.

    Args:
        image: RGB.
        name: of it.
        truth: classes (H, W) uint8 of the image's size, 255 where ignored.
        predicted: the same, of each run.
        classes, palette: names and RGB colours.
    """
    masks = [truth, *predicted]
    panels = [fit(image, PANEL), *(paint(ids, palette) for ids in masks)]
    heads = [
        mark + _of_prediction(ids, truth, len(classes)) for mark, ids in zip(run_labels(len(predicted)), predicted, strict=True)
    ]
    size = (len(panels) * (PANEL[0] + GAP) - GAP, HEAD + PANEL[1] + ROWS * (TAG + 4) + 4)
    whole = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(whole)
    for i, (panel, head) in enumerate(zip(panels, (name, _of_truth(truth), *heads), strict=True)):
        x = i * (PANEL[0] + GAP)
        draw.text((x, 1), shorten(head, PANEL[0]), INK, FONT)
        whole.paste(panel, (x, HEAD))
    for i, ids in enumerate(masks, 1):
        name_largest(draw, i * (PANEL[0] + GAP), HEAD + PANEL[1] + 4, ids, classes, palette)
    return whole


def _of_prediction(predicted: np.ndarray, truth: np.ndarray, classes: int) -> str:
    found = scores(predicted, truth, classes)
    figures = "pixAcc {:.1f}, mIoU {:.1f}".format(*found) if found else "nothing to compare with"
    return f"predicted classes: {len(np.unique(predicted))}, {figures}"


def _of_truth(truth: np.ndarray) -> str:
    ignored = np.mean(truth == IGNORED)
    classes = len(np.unique(truth[truth != IGNORED]))
    return f"true classes: {classes}" + (f", not labelled: {percent(ignored)}" if ignored else "")


def percent(share: float) -> str:
    """In whole percent, but what is there is never 0."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def paint(ids: np.ndarray, palette) -> Image.Image:
    """Classes as a panel in the colours of their palette, hatched where ignored; no pixel has a mixed colour."""
    size, corner = fitted(ids.shape[::-1], PANEL)
    small = np.array(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    stripes = np.add.outer(np.arange(size[1]), np.arange(size[0])) % 6 < 2
    hatched = np.array(HATCH, np.uint8)[stripes.astype(int)]
    canvas = Image.new("RGB", PANEL, GROUND)
    canvas.paste(Image.fromarray(np.where((small == IGNORED)[..., None], hatched, colours[small])), corner)
    return canvas


def name_largest(draw: ImageDraw.ImageDraw, left: int, top: int, ids: np.ndarray, classes, palette) -> list[str]:
    """Writes the names of the largest classes, each on its colour, in the rows below a panel; returns what was written."""
    labels, pixels = np.unique(ids[ids != IGNORED], return_counts=True)
    texts, x, row = [], 0, 0
    for i in np.argsort(-pixels, kind="stable"):
        share = pixels[i] / ids.size
        text = f"{classes[labels[i]].strip()} {percent(share)}"
        if x + tag_width(text) >= PANEL[0]:
            x, row = 0, row + 1
        if row == ROWS or (texts and share < SHARE):
            break
        draw_tag(draw, left + x, top + row * (TAG + 4), text, palette[labels[i]])
        texts.append(text)
        x += int(tag_width(text)) + 5
    return texts
