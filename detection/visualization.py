"""Draw pictures of finished runs: the truth on the left, and beside it the detections of each run."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from backbones.common.drawing import (
    FONT,
    INK,
    RIGHT,
    TAG,
    WRONG,
    draw_tag,
    evenly_spaced,
    fit,
    fitted,
    read_rgb,
    run_labels,
    tag_width,
)
from detection.annotations import read_annotation
from detection.image_lists import split_of
from detection.metrics import Boxes, check_labels, load, match

SCORE, BEST = 0.3, 3  # lowest score of a detection shown; number of best detections shown if none reaches it
MORE = 3  # most detections shown beyond the number of objects
PANEL, GAP, HEAD = (336, 252), 6, 18  # px: largest image, gap between two images, height of the text line above
HIT, ALARM, IGNORED = RIGHT, WRONG, "#9a9a9a"
BORDERS = {1: (HIT, False), 0: (ALARM, False), -1: (IGNORED, True)}  # result of ``match`` -> colour, dashed


def legend(cfg) -> str:
    """Return the legend of the pictures, for the head of a sheet."""
    return (
        "Left: the truth; difficult objects are dashed. Beside it, for each run: the detections with a score of at least "
        f"{SCORE:g}, at most {MORE} more than there are objects, or the {BEST} best if there are none. Green border: a hit (IoU "
        f"at least {_iou(cfg):g}, the first on its object); orange-red: a false alarm; grey, dashed: on a difficult object, "
        "ignored. Labels have the colour of their class."
    )


def pictures(cfg, folders: Sequence[Path], num: int) -> list[Image.Image]:
    """Draw truth and detections side by side for ``num`` images, spread evenly over the test data.

    Args:
        cfg: config of a finished run.
        folders: folders of that run and of runs to show beside it; their ``detections.npz`` is read.
        num: number of images; all images if there are fewer.

    Raises:
        ValueError: the test data is missing, or differs from what the run was tested on.
    """
    images = [(split, name) for split in split_of(cfg.test_dataloader.dataset) for name in split.names]
    loaded = [load(folder / "detections.npz") for folder in folders]
    for detections, truth in loaded:
        check_labels(detections, truth, len(cfg.classes))
    drawn = []
    for i in evenly_spaced(len(images), num):
        split, name = images[i]
        predicted = [detections.take(detections.image == i) for detections, _ in loaded]
        objects = [truth.take(truth.image == i) for _, truth in loaded]
        for folder, boxes in zip(folders, objects, strict=True):
            _check_truth(split.xml(name), boxes, folder)
        image = read_rgb(split.image(name), "complete the VOCdevkit")
        drawn.append(picture(image, name, predicted, objects[0], cfg.classes, _iou(cfg)))
    return drawn


def _iou(cfg) -> float:
    return cfg.test_evaluator.get("iou", 0.5)


def _check_truth(path: Path, objects: Boxes, folder: Path) -> None:
    """Check that the boxes of an XML are those of the run, which count from 0 and are whole numbers.

    Raises:
        ValueError: they differ.
    """
    boxes = np.array([thing.box for thing in read_annotation(path)[1]]).reshape(-1, 4) - 1
    if sorted(boxes.tolist()) != sorted(objects.box.tolist()):
        raise ValueError(f"{path} has other boxes than the run in {folder} was tested on; run it again, or restore that data.")


def shown(found: Boxes, objects: int) -> np.ndarray:
    """Return the indices of the detections of one image to draw, the highest score last.

    Args:
        objects: number of true objects; with many more boxes nothing could be told apart.
    """
    order = np.argsort(found.score, kind="stable")
    high = order[found.score[order] >= SCORE][-(objects + MORE) :]
    return high if len(high) else order[-BEST:]


def picture(image: Image.Image, name: str, found: Sequence[Boxes], true: Boxes, classes, iou: float) -> Image.Image:
    """Draw one image several times: with its true boxes, and with the detections of each run, each under a line of text.

    It takes six plain values instead of a config, so that a picture can be drawn without a run.

    Args:
        image: image in RGB.
        name: name of the image.
        found: detections of each run on the image, with ``score``.
        true: objects of the image, with ``difficult``.
        classes: names of the classes.
        iou: smallest IoU of a hit.
    """
    left = Panel(image)
    for box, label, hard in zip(true.box, true.label, true.difficult, strict=True):
        left.outline(box, colour_of(label), bool(hard))
    for k, label in enumerate(true.label):  # in a crowd, one label for each class is enough
        left.tag(true.box[k], classes[label], colour_of(label), needed=label not in true.label[:k])
    panels = [(left, _of_truth(name, true))]
    for mark, boxes in zip(run_labels(len(found)), found, strict=True):
        panel, text = _detections(image, boxes, true, classes, iou)
        panels.append((panel, mark + text))
    sheet = Image.new("RGB", (len(panels) * (PANEL[0] + GAP) - GAP, HEAD + PANEL[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (panel, text) in enumerate(panels):
        x = i * (PANEL[0] + GAP)
        draw.text((x, 1), text, INK, FONT)
        sheet.paste(panel.canvas, (x, HEAD))
    return sheet


def _detections(image: Image.Image, found: Boxes, true: Boxes, classes, iou: float) -> tuple["Panel", str]:
    """Draw an image with the detections of a run, and return it with a line of text on their numbers."""
    matches, drawn, panel = match(found, true, iou), shown(found, len(true.box)), Panel(image)
    for i in drawn:
        panel.outline(found.box[i], *BORDERS[int(matches[i])])
    named: set[int] = set()
    for i in drawn[::-1]:  # in a crowd, the best of each class has a label
        label = int(found.label[i])
        panel.tag(found.box[i], f"{classes[label]} {found.score[i]:.2f}", colour_of(label), needed=label not in named)
        named.add(label)
    return panel, _of_found(found, drawn, matches)


def _of_truth(name: str, true: Boxes) -> str:
    hard = int(np.sum(true.difficult))
    return f"{name}: objects: {len(true.box)}" + (f", of which difficult: {hard}" if hard else "")


def _of_found(found: Boxes, drawn: np.ndarray, matches: np.ndarray) -> str:
    hits = f"hits: {np.sum(matches[drawn] == 1)}"
    if not len(drawn):
        return "nothing detected"
    if found.score[drawn].max() < SCORE:
        return f"score >= {SCORE:g}: none; shown: the best {len(drawn)} of {len(found.score)}, {hits}"
    high = int(np.sum(found.score >= SCORE))
    best = f", shown: the best {len(drawn)}" if high > len(drawn) else ""
    return f"score >= {SCORE:g}: {high}{best}, {hits}"


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the colour of a class, the same in every picture; consecutive classes are far apart in hue."""
    hue, value = label * 0.618034 % 1, (1.0, 0.75)[label // 10 % 2]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, value))


class Panel:
    """Draw boxes in the pixels of an image that is resized to fit, and keep their labels apart if possible."""

    def __init__(self, image: Image.Image):
        self.scale = min(PANEL[0] / image.width, PANEL[1] / image.height)
        self.corner = fitted(image.size, PANEL)[1]
        self.canvas = fit(image, PANEL)
        self.draw = ImageDraw.Draw(self.canvas)
        self.tags: list[tuple[float, ...]] = []

    def place(self, box: np.ndarray) -> tuple[float, ...]:
        """Return the place of a box on the canvas; both ends are inside it, so it is a pixel longer than their difference."""
        x, y = self.corner
        ends = np.clip([box[0], box[1], box[2] + 1, box[3] + 1], 0, None) * self.scale
        return ends[0] + x, ends[1] + y, ends[2] + x - 1, ends[3] + y - 1

    def outline(self, box: np.ndarray, colour, dashed: bool) -> None:
        x1, y1, x2, y2 = self.place(box)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        for width, fill in ((4, "black"), (2, colour)):  # a dark rim is visible on any background
            for start, end in zip(corners, corners[1:], strict=False):
                self.line(start, end, fill, width, dashed)

    def line(self, start, end, fill, width: int, dashed: bool) -> None:
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        parts = max(1, round(length / 5)) if dashed else 1
        points = np.linspace(start, end, parts + 1)
        for a, b in list(zip(points, points[1:], strict=False))[::2]:
            self.draw.line([*a, *b], fill, width)

    def tag(self, box: np.ndarray, text: str, colour: tuple[int, int, int], needed: bool) -> None:
        """Write a label at a corner of a box, outside or inside, where it covers no other label.

        Without such a place, a ``needed`` label covers another one, and any other label is left out.
        """
        x1, y1, x2, y2 = self.place(box)
        wide, high = tag_width(text), TAG
        columns = [min(max(x, 0), PANEL[0] - wide) for x in (x1, x2 - wide)]
        rows = [min(max(y, 0), PANEL[1] - high) for y in (y1 - high, y1, y2 - high, y2)]
        places = [(x, y) for x in columns for y in rows]
        free = [(x, y) for x, y in places if not self.taken(x, y, wide, high)]
        if not free and not needed:
            return
        x, y = (free or places)[0]
        self.tags.append((x, y, wide, high))
        draw_tag(self.draw, x, y, text, colour)

    def taken(self, x: float, y: float, wide: float, high: float) -> bool:
        return any(x < a + w and a < x + wide and y < b + h and b < y + high for a, b, w, h in self.tags)
