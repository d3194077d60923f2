"""Pictures of finished runs, for people: the truth on the left, and beside it what the detector of each run found."""

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
from detection.annotations import read_annotation, split_of
from detection.metrics import Boxes, check_labels, load, match

SCORE, BEST = 0.3, 3  # detections shown: from this score on; where there are none, that many of the highest score
PANEL, GAP, HEAD = (336, 252), 6, 18  # px: an image at most, between two of them, the line above
HIT, ALARM, IGNORED = RIGHT, WRONG, "#9a9a9a"
BORDERS = {1: (HIT, False), 0: (ALARM, False), -1: (IGNORED, True)}  # what ``match`` says -> colour, dashed


def legend(cfg) -> str:
    """What the pictures show, for the head of a sheet."""
    return (
        "Left: the truth, dashed where it is difficult. Beside it, of each run: the detections with a score of at least "
        f"{SCORE:g} or, where there are none, the {BEST} best. Green border: a hit (IoU at least {_iou(cfg):g}, the first on its "
        "object); orange-red: a false alarm; grey, dashed: on a difficult object, ignored. Labels have their class's colour."
    )


def pictures(cfg, folders: Sequence[Path], num: int) -> list[Image.Image]:
    """Truth and detections side by side for ``num`` images, spread evenly over the test data.

    Args:
        cfg: of a finished run.
        folders: of that run, and perhaps of another that stands beside it; ``detections.npz`` is read.
        num: how many images; all, where there are fewer.

    Raises:
        ValueError: the test data is missing, or is not what the run was tested on.
    """
    images = [(home, name) for home, names in split_of(cfg.test_dataloader.dataset) for name in names]
    loaded = [load(folder / "detections.npz") for folder in folders]
    for found, true in loaded:
        check_labels(found, true, len(cfg.classes))
    drawn = []
    for i in evenly_spaced(len(images), num):
        home, name = images[i]
        own = [found.take(found.image == i) for found, _ in loaded]
        objects = [true.take(true.image == i) for _, true in loaded]
        for folder, boxes in zip(folders, objects, strict=True):
            _check_truth(home / "Annotations" / f"{name}.xml", boxes, folder)
        image = read_rgb(home / "JPEGImages" / f"{name}.jpg", "complete the VOCdevkit")
        drawn.append(picture(image, name, own, objects[0], cfg.classes, _iou(cfg)))
    return drawn


def _iou(cfg) -> float:
    return cfg.test_evaluator.get("iou", 0.5)


def _check_truth(path: Path, objects: Boxes, folder: Path) -> None:
    """Raises ValueError unless the boxes of an XML are those of the run; the run counts from 0 and has whole numbers."""
    now = np.array([thing.box for thing in read_annotation(path)[1]]).reshape(-1, 4) // 1 - 1
    if sorted(now.tolist()) != sorted(objects.box.tolist()):
        raise ValueError(f"{path} has other boxes than the run in {folder} was tested on; run it again, or bring that data back.")


def shown(found: Boxes) -> np.ndarray:
    """The indices of the detections of one image to draw, the highest score last."""
    order = np.argsort(found.score, kind="stable")
    high = order[found.score[order] >= SCORE]
    return high if len(high) else order[-BEST:]


def picture(image: Image.Image, name: str, found: Sequence[Boxes], true: Boxes, classes, iou: float) -> Image.Image:
    """One image several times, with its true boxes and with the detections of each run, and a line on each.

    Args:
        image: RGB.
        name: of it.
        found: the detections on it, of each run, with ``score``.
        true: its objects, with ``difficult``.
        classes: names.
        iou: smallest IoU of a hit.
    """
    left = Panel(image)
    for box, label, hard in zip(true.box, true.label, true.difficult, strict=True):
        left.outline(box, colour_of(label), bool(hard))
    for k, label in enumerate(true.label):  # in a crowd, one label of each class must do
        left.tag(true.box[k], classes[label], colour_of(label), needed=label not in true.label[:k])
    panels = [(left, _of_truth(name, true))]
    for mark, boxes in zip(run_labels(len(found)), found, strict=True):
        panel, text = _detections(image, boxes, true, classes, iou)
        panels.append((panel, mark + text))
    whole = Image.new("RGB", (len(panels) * (PANEL[0] + GAP) - GAP, HEAD + PANEL[1]), "white")
    draw = ImageDraw.Draw(whole)
    for i, (panel, text) in enumerate(panels):
        x = i * (PANEL[0] + GAP)
        draw.text((x, 1), text, INK, FONT)
        whole.paste(panel.canvas, (x, HEAD))
    return whole


def _detections(image: Image.Image, found: Boxes, true: Boxes, classes, iou: float) -> tuple["Panel", str]:
    """An image with the detections of a run, and what they are in numbers."""
    matches, drawn, panel = match(found, true, iou), shown(found), Panel(image)
    for i in drawn:
        panel.outline(found.box[i], *BORDERS[int(matches[i])])
    for i in drawn[::-1]:
        panel.tag(found.box[i], f"{classes[found.label[i]]} {found.score[i]:.2f}", colour_of(found.label[i]), needed=True)
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
    return f"score >= {SCORE:g}: {len(drawn)}, {hits}"


def colour_of(label: int) -> tuple[int, int, int]:
    """The colour of a class, the same in every picture; neighbours in number are far apart in hue."""
    hue, value = label * 0.618034 % 1, (1.0, 0.75)[label // 10 % 2]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, value))


class Panel:
    """An image, made to fit, that takes boxes in its own pixels and keeps the labels off each other where it can."""

    def __init__(self, image: Image.Image):
        self.scale = min(PANEL[0] / image.width, PANEL[1] / image.height)
        self.corner = fitted(image.size, PANEL)[1]
        self.canvas = fit(image, PANEL)
        self.draw = ImageDraw.Draw(self.canvas)
        self.tags: list[tuple[float, ...]] = []

    def place(self, box: np.ndarray) -> tuple[float, ...]:
        """Where a box lies on the canvas; both ends are inside it, so it is a pixel longer than their difference."""
        x, y = self.corner
        ends = np.clip([box[0], box[1], box[2] + 1, box[3] + 1], 0, None) * self.scale
        return ends[0] + x, ends[1] + y, ends[2] + x - 1, ends[3] + y - 1

    def outline(self, box: np.ndarray, colour, dashed: bool) -> None:
        x1, y1, x2, y2 = self.place(box)
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        for width, fill in ((4, "black"), (2, colour)):  # a dark rim: seen on any ground
            for start, end in zip(corners, corners[1:], strict=False):
                self.line(start, end, fill, width, dashed)

    def line(self, start, end, fill, width: int, dashed: bool) -> None:
        length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
        parts = max(1, round(length / 5)) if dashed else 1
        points = np.linspace(start, end, parts + 1)
        for a, b in list(zip(points, points[1:], strict=False))[::2]:
            self.draw.line([*a, *b], fill, width)

    def tag(self, box: np.ndarray, text: str, colour: tuple[int, int, int], needed: bool) -> None:
        """Writes at a box's upper or lower edge, outside or inside: where no label is yet or, if ``needed``, over one."""
        x1, y1, _, y2 = self.place(box)
        wide, high = tag_width(text), TAG
        x = min(max(x1, 0), PANEL[0] - wide)
        rows = [min(max(y, 0), PANEL[1] - high) for y in (y1 - high, y1, y2 - high, y2)]
        free = [y for y in rows if not self.taken(x, y, wide, high)]
        if not free and not needed:
            return
        y = (free or rows)[0]
        self.tags.append((x, y, wide, high))
        draw_tag(self.draw, x, y, text, colour)

    def taken(self, x: float, y: float, wide: float, high: float) -> bool:
        return any(x < a + w and a < x + wide and y < b + h and b < y + high for a, b, w, h in self.tags)
