"""Draw test images of finished runs: the image, its true classes, and the classes that each run predicted."""

import json
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

MASKS = "masks"  # folder in a run's folder with the predicted masks of some test images, in ADE20K's numbering
NOTE = "toy.json"  # describes the synthetic data
IGNORED = 255  # in a mask in memory; 0 in its file
PANEL, GAP, HEAD = (336, 252), 6, 18  # px: largest size of an image, gap between two, line of text above
ROWS, SHARE = 2, 0.01  # names below a panel: number of rows, and the smallest share of the image that is named
HATCH = ((255, 255, 255), (165, 165, 165))  # background and stripes of ignored pixels; plain grey is the colour of walls


def legend(cfg) -> str:
    """Return the explanation at the head of a sheet."""
    return (
        "Left: the image. Next: the ground truth, hatched where it has no label; predictions there do not count. Then, for each "
        "run: the prediction, with the pixAcc of this image and its mIoU over the true classes. Colours are ADE20K's; "
        f"below, the largest classes with their share of the image, from {percent(SHARE)} on."
    )


def pictures(cfg, folders: Sequence[Path], num: int) -> list[Image.Image]:
    """Draw ``num`` test images with truth and predictions, spread evenly over those whose prediction every run saved.

    Args:
        cfg: config of a finished run.
        folders: folder of that run, and optionally of a second run to compare; their ``masks/*.png`` are read.
        num: number of images; all if there are fewer.

    Raises:
        ValueError: a run has no masks, the runs have no mask in common, or the test data is missing or is not the data on which
            the run was tested.
    """
    saved = _shared_masks(folders)
    with redirect_stdout(sys.stderr):  # mmseg prints warnings to stdout, which is for the path of the sheet
        from segmentation.data import ADE20KDataset  # here, since mmseg takes seconds to load

    meta, data = ADE20KDataset.METAINFO, cfg.test_dataloader.dataset
    images, masks = (Path(data.data_root) / data.data_prefix[kind] for kind in ("img_path", "seg_map_path"))
    classes = own_names(Path(data.data_root), meta["classes"])
    sheets = []
    for name in (saved[i] for i in evenly_spaced(len(saved), num)):
        panels = [_read(images / f"{Path(name).stem}.jpg", masks / name, folder / MASKS / name) for folder in folders]
        image, truth, _ = panels[0]
        predictions = [predicted for _, _, predicted in panels]
        sheets.append(picture(image, Path(name).stem, truth, predictions, classes, meta["palette"]))
    return sheets


def own_names(root: Path, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes; those of the synthetic data stand in toy.json, beside its folder, by ADE20K's ids.

    Raises:
        ValueError: toy.json cannot be read.
    """
    names, note = list(classes), root.parent / NOTE
    if note.is_file():
        try:
            for name, number in json.loads(note.read_text(encoding="utf-8"))["ade_ids"].items():
                names[number - 1] = name
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{note} cannot be read ({error}); make the data again: tools/prepare_data.py toy.") from None
    return names


def _shared_masks(folders: Sequence[Path]) -> list[str]:
    """Return the names of the masks that every run saved."""
    masks = [{path.name for path in (folder / MASKS).glob("*.png")} for folder in folders]
    for folder, names in zip(folders, masks, strict=True):
        if not names:
            raise ValueError(
                f"The run in {folder} kept no predictions ({MASKS}/*.png), as older runs did not; run it again, or test its "
                f"checkpoint with tools/test.py and --out {folder}."
            )
    if not (shared := set.intersection(*masks)):
        raise ValueError(
            f"The runs in {' and '.join(map(str, folders))} kept predictions of no image in common; choose two others."
        )
    return sorted(shared)


def _read(photo: Path, mask: Path, saved: Path) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """Read an image, its truth and a prediction; raise ValueError unless they exist and belong together."""
    for path in (photo, mask):
        if not path.is_file():
            raise ValueError(f"{path} is missing, and the run that wrote {saved} was tested on it; complete the data.")
    image, truth, predicted = read_rgb(photo, "complete the data"), read_mask(mask), read_mask(saved)
    if predicted.max() == IGNORED:
        raise ValueError(f"The mask {saved} has the id 0, which no prediction has; do the run again.")
    for path, (height, width) in ((saved, predicted.shape), (photo, image.size[::-1])):
        if (height, width) != truth.shape:
            raise ValueError(
                f"{path} has {width} x {height} pixels, and {mask} has {truth.shape[1]} x {truth.shape[0]}: this is not the data "
                "that the run was tested on; run it again, or bring that data back."
            )
    return image, truth, predicted


def read_mask(path: Path) -> np.ndarray:
    """Read the classes of a mask, uint8 (H, W) from 0 on, 255 if ignored; raise ValueError as ``LoadMask`` does."""
    from segmentation.data import LoadMask

    return LoadMask()({"seg_map_path": str(path), "seg_fields": []})["gt_seg_map"]


def scores(predicted: np.ndarray, truth: np.ndarray, classes: int) -> tuple[float, float] | None:
    """Return pixAcc of an image and its mIoU over the true classes, in percent; None if every pixel is ignored."""
    matrix = confusion(predicted, truth, classes)
    return (pixel_accuracy(matrix), mean_iou(matrix)) if matrix.any() else None


def picture(image: Image.Image, name: str, truth: np.ndarray, predicted: Sequence[np.ndarray], classes, palette) -> Image.Image:
    """Draw an image, its truth and the prediction of each run side by side, each with a heading and its largest classes below.

    It has six parameters, since an image's name, truth and predictions and the classes' names and colours are independent.

    Args:
        image: RGB image.
        name: name of the image.
        truth: classes (H, W) uint8 at the image's size, 255 if ignored.
        predicted: predicted classes of each run, like ``truth``.
        classes, palette: names and RGB colours of the classes.
    """
    masks = [truth, *predicted]
    panels = [fit(image, PANEL), *(paint(ids, palette) for ids in masks)]
    labels = run_labels(len(predicted))
    heads = [label + _prediction_heading(ids, truth, len(classes)) for label, ids in zip(labels, predicted, strict=True)]
    size = (len(panels) * (PANEL[0] + GAP) - GAP, HEAD + PANEL[1] + ROWS * (TAG + 4) + 4)
    whole = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(whole)
    for i, (panel, head) in enumerate(zip(panels, (name, _truth_heading(truth), *heads), strict=True)):
        x = i * (PANEL[0] + GAP)
        draw.text((x, 1), shorten(head, PANEL[0]), INK, FONT)
        whole.paste(panel, (x, HEAD))
    for i, ids in enumerate(masks, 1):
        name_largest(draw, i * (PANEL[0] + GAP), HEAD + PANEL[1] + 4, ids, classes, palette)
    return whole


def _prediction_heading(predicted: np.ndarray, truth: np.ndarray, classes: int) -> str:
    """Return the line above a prediction: number of classes, pixAcc and mIoU."""
    values = scores(predicted, truth, classes)
    figures = "pixAcc {:.1f}, mIoU {:.1f}".format(*values) if values else "nothing to compare with"
    return f"predicted classes: {len(np.unique(predicted))}, {figures}"


def _truth_heading(truth: np.ndarray) -> str:
    """Return the line above the truth: number of classes, and share of pixels without a label."""
    ignored = np.mean(truth == IGNORED)
    classes = len(np.unique(truth[truth != IGNORED]))
    return f"true classes: {classes}" + (f", not labelled: {percent(ignored)}" if ignored else "")


def percent(share: float) -> str:
    """Format a share in whole percent; a share above 0 is never shown as 0."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def paint(ids: np.ndarray, palette) -> Image.Image:
    """Paint classes as a panel in the colours of their palette, hatched where ignored, without mixed colours."""
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
    """Write the names of the largest classes, each on its colour, below a panel; return the texts.

    The six parameters are a place on a drawing, and a mask with the names and colours of its classes.
    """
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
