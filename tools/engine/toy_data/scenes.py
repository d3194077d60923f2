"""Draw the scenes of the synthetic datasets: cluttered backgrounds, objects on them, and occluders.

The class of an object is a texture times a shape; hues are random and carry no information. Objects are light with a dark
pattern, on backgrounds of middle tones, and stand nearly upright, as objects in photographs do. A network a quarter as wide as
ResNet-50 therefore learns the classes in a few hundred updates. The same functions draw the ImageNet-style folder, VOC and
ADE20K, so what a network learns on the first helps on the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

SHAPES = ("disc", "star")
TEXTURES = ("solid", "striped", "banded", "checked")
CLASSES = tuple(f"{texture}_{shape}" for texture in TEXTURES for shape in SHAPES)
STUFF = ("waves", "bricks", "grass", "gradient", "speckle", "clouds")
ADE_IDS = {  # 0 is "unlabelled"; spread over 1..150 to expose a reader that packs the ids
    **{"waves": 3, "bricks": 14, "grass": 29, "gradient": 57, "speckle": 88, "clouds": 133},
    **{"solid_disc": 1, "solid_star": 20, "striped_disc": 46, "striped_star": 71},
    **{"banded_disc": 90, "banded_star": 112, "checked_disc": 125, "checked_star": 150},
}
MOST_TURN = 0.25  # radians; largest rotation of an object and of its texture, in either direction
FOLDER_SIDE = 80  # px; leaves room for a random crop of 64
MIN_VISIBLE = 0.15  # share of an object's whole area that always stays visible


@dataclass
class Thing:
    """Hold one drawn object: class index, whole area in px, whole extent (x0, y0, x1, y1), 0-based half-open.

    Area and extent include what the border cuts off, so the extent may reach outside the image.
    """

    label: int
    area: int
    extent: tuple[int, int, int, int]


@dataclass
class Scene:
    """Hold an image and what is visible at each pixel.

    Attributes:
        image: (h, w, 3) float32 RGB, about 0..1.
        ground: (h, w) uint8, ADE ids of the stuff, 0 unlabelled.
        owner: (h, w) int16, index into ``things`` of the object visible at a pixel, or -1.
        things: the objects in drawing order.
    """

    image: np.ndarray
    ground: np.ndarray
    owner: np.ndarray
    things: list[Thing] = field(default_factory=list)


# ---- colours, noise and stuff


def _colour(rng: np.random.Generator, away: Iterable[np.ndarray] = (), gap: float = 0.25) -> np.ndarray:
    """Return a random middle RGB tone (3,) in 0.23..0.68, at least `gap` from each of `away`, or else the farthest of 24."""
    colours = rng.uniform(0.23, 0.68, (24, 3)).astype(np.float32)
    dist = np.min([np.linalg.norm(colours - c, axis=1) for c in away] or [np.ones(24)], axis=0)
    return colours[np.argmax(np.where(dist.max() >= gap, dist >= gap, dist))]


def _smooth(rng: np.random.Generator, h: int, w: int, cell: float, channels: int = 1) -> np.ndarray:
    """Return smooth noise of about 0..1 with blobs of `cell` px, (h, w) or (h, w, channels) float32."""
    grid = rng.random((int(h / cell) + 2, int(w / cell) + 2, channels), dtype=np.float32)
    return cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)


def _axes(h: int, w: int, angle: float, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates u, v (h, w) float32 along axes turned by `angle` radians, 0 at the centre."""
    y = (np.arange(h, dtype=np.float32)[:, None] - (h - 1) / 2) * scale
    x = (np.arange(w, dtype=np.float32)[None, :] - (w - 1) / 2) * scale
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * c + y * s, y * c - x * s


def _stuff_pattern(rng: np.random.Generator, name: str, h: int, w: int) -> np.ndarray:
    """Return the mixing weight 0..1 of a stuff's two colours, (h, w) float32."""
    period = rng.uniform(8, 14)
    if name == "waves":
        u, v = _axes(h, w, rng.uniform(0, math.pi))
        bend = rng.uniform(0.2, 0.4) * np.sin(2 * math.pi * u / rng.uniform(20, 40))
        return 0.5 + 0.5 * np.sin(2 * math.pi * (v / period + bend))
    if name == "bricks":
        u, v = _axes(h, w, rng.uniform(-0.3, 0.3))
        row = np.floor(v / period)
        return ((v / period - row < 0.2) | (np.mod(u / (2 * period) + 0.5 * row, 1) < 0.1)).astype(np.float32)
    if name == "grass":
        blades = cv2.GaussianBlur(rng.standard_normal((h, w), dtype=np.float32), (0, 0), 0.7, sigmaY=3.5)
        return np.clip(0.5 + 1.6 * blades, 0, 1)
    if name == "speckle":
        points = (rng.random((h, w)) > 0.96).astype(np.float32)
        return cv2.dilate(points, np.ones((2, 2), np.uint8))
    if name == "gradient":
        u, _ = _axes(h, w, rng.uniform(0, 2 * math.pi))
        return 0.5 + u / max(h, w)
    assert name == "clouds", name
    return 0.65 * _smooth(rng, h, w, 3 * period) + 0.35 * _smooth(rng, h, w, period)


def _stuff(rng: np.random.Generator, name: str, h: int, w: int) -> np.ndarray:
    """Return a whole image (h, w, 3) float32 of one stuff in two random colours."""
    first = _colour(rng)
    second = first + rng.uniform(0.35, 0.7) * (_colour(rng, [first]) - first)
    return first + _stuff_pattern(rng, name, h, w)[..., None] * (second - first)


def _regions(rng: np.random.Generator, h: int, w: int) -> Scene:
    """Return a scene without objects whose ground is 2..5 wavy regions of different stuff."""
    names = rng.choice(STUFF, size=int(rng.integers(2, 6)), replace=False)
    angles = rng.uniform(0, 2 * math.pi) + 2 * math.pi * np.arange(len(names)) / len(names)
    radii = rng.uniform(0.15, 0.4, len(names))
    y, x = np.mgrid[:h, :w].astype(np.float32)
    y, x = y / h - 0.5 + 0.2 * _smooth(rng, h, w, h / 4), x / w - 0.5 + 0.2 * _smooth(rng, h, w, h / 4)
    nearest = np.argmin(
        [(y - r * math.sin(a)) ** 2 + (x - r * math.cos(a)) ** 2 for a, r in zip(angles, radii, strict=True)],
        0,
    )
    image = np.zeros((h, w, 3), np.float32)
    for i, name in enumerate(names):
        image[nearest == i] = _stuff(rng, name, h, w)[nearest == i]
    ids = np.array([ADE_IDS[name] for name in names], np.uint8)
    return Scene(image, ids[nearest], np.full((h, w), -1, np.int16))


def _cluttered(rng: np.random.Generator, h: int, w: int) -> Scene:
    """Return a scene without objects, of stuff regions or smooth noise with pieces of plain colour on it."""
    scene = _regions(rng, h, w)
    if rng.random() < 0.5:
        scene.image = _colour(rng) + 0.6 * (_smooth(rng, h, w, rng.uniform(8, 40), 3) - 0.5)
    for _ in range(rng.integers(0, 3)):
        centre = rng.uniform(0, 1, 2) * (h, w)
        _blend(scene.image, _piece(rng, h, w, centre, rng.uniform(6, 30)), _colour(rng))
    return scene


def _piece(rng: np.random.Generator, h: int, w: int, centre: np.ndarray, size: float) -> np.ndarray:
    """Return the coverage (h, w) float32 0..1 of a distractor: a crooked line, a long ellipse or a ragged polygon."""
    mask = np.zeros((h, w), np.uint8)
    kind = int(rng.integers(3))
    cy, cx = centre
    if kind == 0:
        path = np.cumsum(rng.normal(0, size / 2, (4, 2)), 0) + (cx - size / 2, cy)
        cv2.polylines(mask, [_fixed(path)], False, 255, int(rng.integers(1, 5)), cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255
    # No piece may look like a class shape: ellipses are at least twice as long as wide, polygons uneven.
    angles = np.sort(rng.uniform(0, 2 * math.pi, 7)) if kind == 2 else np.linspace(0, 2 * math.pi, 24, False)
    radii = rng.uniform(0.3, 1.0, 7) if kind == 2 else 1.0
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii * (1.0 if kind == 2 else 0.4)], 1)
    cv2.fillPoly(mask, [_fixed(_turned(points, rng) * size / 2 + (cx, cy))], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _turned(points: np.ndarray, rng: np.random.Generator, most: float = math.pi) -> np.ndarray:
    """Rotate points (n, 2) by a random angle of at most `most` radians in either direction."""
    angle = rng.uniform(-most, most)
    return points @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _fixed(points: np.ndarray) -> np.ndarray:
    """Return points (n, 2) xy as the 1/16 px integers that OpenCV draws with shift=4."""
    return np.round(points * 16).astype(np.int32)


def _blend(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """Paint a colour onto an image in place, weighted by the coverage `alpha` (h, w)."""
    image += alpha[..., None] * (colour - image)


# ---- objects


def _outline(rng: np.random.Generator, shape: str, size: float) -> np.ndarray:
    """Return corners (n, 2) xy in px about the origin, slightly turned and squashed at random."""
    n, radius = {"disc": (40, 0.5), "star": (10, 0.6)}[shape]
    angles = 2 * math.pi * np.arange(n) / n - math.pi / 2
    radii = np.where(np.arange(n) % 2, 0.45, 1.0) if shape == "star" else np.ones(n)
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii * rng.uniform(0.85, 1)], 1)
    return _turned(points * radius * size, rng, MOST_TURN)


def _texture(rng: np.random.Generator, texture: str, side: int, size: float) -> np.ndarray:
    """Return the texture weight of an object, 1 where it is dark and else 0, (side, side) float32 at two samples per px."""
    u, v = _axes(side, side, rng.uniform(-MOST_TURN, MOST_TURN), 0.5)
    period = max(5.5, size * rng.uniform(0.16, 0.3))  # finer would drown in the blur on small objects
    u, v = np.mod(u / period + rng.random(), 1) < 0.5, np.mod(v / period + rng.random(), 1) < 0.5
    patterns = {"solid": np.zeros_like(u), "striped": u, "banded": v, "checked": u ^ v}
    return patterns[texture].astype(np.float32)


def _patch(rng: np.random.Generator, label: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return coverage and texture weight of an object, both (n, n) float32 0..1, drawn at 2x and averaged."""
    texture, shape = CLASSES[label].split("_")
    n = 2 * math.ceil(0.6 * size + 1)
    cover = np.zeros((2 * n, 2 * n), np.float32)
    cv2.fillPoly(cover, [_fixed(2 * _outline(rng, shape, size) + n)], 1.0, shift=4)
    weight = _texture(rng, texture, 2 * n, size)
    return tuple(cv2.resize(a, (n, n), interpolation=cv2.INTER_AREA) for a in (cover, weight))


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box (x0, y0, x1, y1), 0-based half-open, of the true pixels of a mask (h, w)."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1


def _may_cover(scene: Scene, mask: np.ndarray, keep: float) -> bool:
    """Return True if every object keeps the share `keep` of its area when `mask` (h, w) bool is drawn over it."""
    visible = np.bincount(scene.owner[~mask] + 1, minlength=len(scene.things) + 1)[1:]
    return all(seen >= keep * thing.area for seen, thing in zip(visible, scene.things, strict=True))


def draw_thing(rng: np.random.Generator, scene: Scene, label: int, size: float, centre: tuple[float, float]) -> bool:
    """Draw an object about `size` px across at `centre` (y, x) on top of the scene and return True.

    Draw nothing and return False if too little of it, or of an object below it, would be visible.
    """
    h, w = scene.owner.shape
    cover, weight = _patch(rng, label, size)
    n = len(cover)
    top, left = (round(middle) - n // 2 for middle in centre)
    rows, cols = slice(max(0, top), min(h, top + n)), slice(max(0, left), min(w, left + n))
    inner = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
    mask = np.zeros((h, w), bool)
    mask[rows, cols] = cover[inner] >= 0.5
    area = int((cover >= 0.5).sum())
    if mask.sum() < MIN_VISIBLE * area or not _may_cover(scene, mask, MIN_VISIBLE):
        return False
    first, second = (rng.uniform(low, low + 0.25, 3).astype(np.float32) for low in (0.75, 0.0))
    light = 1 + rng.uniform(0, 0.3) * _axes(n, n, rng.uniform(0, 2 * math.pi))[0] / (n / 2)
    paint = (first + weight[..., None] * (second - first)) * light[..., None]
    _blend(scene.image[rows, cols], cover[inner], paint[inner])
    x0, y0, x1, y1 = bounds(cover >= 0.5)
    scene.owner[mask] = len(scene.things)
    scene.things.append(Thing(label, area, (x0 + left, y0 + top, x1 + left, y1 + top)))
    return True


def _draw_occluder(rng: np.random.Generator, scene: Scene, size: float, keep: float) -> None:
    """Draw an unlabelled piece of plain colour on top if every object keeps the share `keep` of its area."""
    h, w = scene.owner.shape
    cover = _piece(rng, h, w, rng.uniform(0.15, 0.85, 2) * (h, w), size)
    if _may_cover(scene, cover >= 0.5, keep):
        _blend(scene.image, cover, _colour(rng))
        scene.owner[cover >= 0.5], scene.ground[cover >= 0.5] = -1, 0


def _place(rng: np.random.Generator, h: int, w: int, size: float, cut: float) -> tuple[float, float]:
    """Return a centre (y, x) for an object wholly inside the image or, with probability `cut`, possibly across its border."""
    margin = min(size * (0.25 if rng.random() < cut else 0.6), min(h, w) / 2)
    return rng.uniform(margin, h - margin), rng.uniform(margin, w - margin)


def _populate(rng: np.random.Generator, scene: Scene) -> Scene:
    """Draw 1..5 objects of 16..80 px, as many small as large ones, and up to two occluders."""
    h, w = scene.owner.shape
    count = int(rng.integers(1, 6))
    for _ in range(4 * count):
        size = float(np.exp(rng.uniform(math.log(16), math.log(80))))
        draw_thing(rng, scene, int(rng.integers(len(CLASSES))), size, _place(rng, h, w, size, 0.25))
        if len(scene.things) == count:
            break
    for _ in range(rng.integers(0, 3)):
        _draw_occluder(rng, scene, rng.uniform(10, 30), MIN_VISIBLE)
    assert scene.things, "the first object is always drawn: at least a quarter of it is inside"
    return scene


# ---- scenes


def folder_scene(rng: np.random.Generator, label: int) -> Scene:
    """Return a cluttered scene of FOLDER_SIDE px square with one object of class index `label`."""
    side = FOLDER_SIDE
    scene = _cluttered(rng, side, side)
    size = rng.uniform(0.55, 1.0) * side
    drawn = draw_thing(rng, scene, label, size, _place(rng, side, side, size, 0.25))
    assert drawn
    if rng.random() < 0.3:
        _draw_occluder(rng, scene, rng.uniform(0.2, 0.45) * side, 0.5)
    return scene


def voc_scene(rng: np.random.Generator) -> Scene:
    """Return a cluttered scene with sides of 112..160 px and 1..5 objects."""
    h, w = (int(n) for n in rng.integers(112, 161, 2))
    return _populate(rng, _cluttered(rng, h, w))


def ade_scene(rng: np.random.Generator) -> Scene:
    """Return a scene with sides of 128..160 px: 2..5 stuff regions, 1..5 objects, unlabelled pieces."""
    h, w = (int(n) for n in rng.integers(128, 161, 2))
    return _populate(rng, _regions(rng, h, w))


def finish(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Shade and blur an image (h, w, 3) float32 RGB, add noise, and return it as uint8 RGB."""
    h, w = image.shape[:2]
    light = 1 + rng.uniform(0, 0.3) * _axes(h, w, rng.uniform(0, 2 * math.pi))[0] / (max(h, w) / 2)
    image = cv2.GaussianBlur(image * light[..., None], (0, 0), rng.uniform(0.3, 0.8))
    image = image + rng.uniform(0.01, 0.04) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
