"""Pictures of a finished run on one sheet: a task's own, under a head that says what they show."""

import difflib
import textwrap
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from PIL import Image, ImageDraw, ImageFont

from backbones.files import atomic
from tools.engine.config import ROOT, RUNS, load, task_of
from tools.engine.run import CONFIG, RECORD, read_record

SHEET, PICTURES = "pictures.png", 12  # in a run's folder, for the report; how many images on it
WIDTH, GAP = 1400, 10  # px: of a sheet at most, and between pictures
INK = "#1d1d1b"


def show(run: str | Path, num: int, out: Path | None = None) -> Path:
    """Draws a sheet of ``num`` pictures of a finished run and returns its path.

    Args:
        run: the folder or the key of the run.
        num: how many images of the test data.
        out: a file for the sheet (PNG); ``pictures.png`` in the run's folder.

    Raises:
        ValueError: no such run, one that has nothing to show, or a task that has no pictures.
    """
    if num < 1:
        raise ValueError(f"--num is {num}; give 1 or more images.")
    folder = find_run(run)
    record = read_record(folder)
    task = pictures_of(record["task"])
    cfg = load(folder / CONFIG)
    image = sheet(task.pictures(cfg, folder, num), title(record), task.legend(cfg))
    out = Path(out or folder / SHEET)
    with atomic(out, "wb") as file:
        image.save(file, "PNG", optimize=True)
    return out


def draw_sheets(nodes: Iterable, log: Callable[[str], None]) -> None:
    """Draws the sheet of the first finished run of each recipe, task and network that has none yet.

    Args:
        nodes: rows of a study.
        log: gets a line for each that cannot be drawn.
    """
    seen = set()
    for node in nodes:
        what = node.recipe, node.task, node.network
        if what in seen or not (node.record and node.record["status"] == "done"):
            continue
        seen.add(what)
        if not (node.folder / SHEET).is_file():
            try:
                show(node.folder, PICTURES)
            except ValueError as error:
                log(f"{node.name}: no pictures ({error})")


def find_run(run: str | Path) -> Path:
    """The folder of a finished run.

    Raises:
        ValueError: there is none of that name (names the nearest), it has not finished, or it diverged.
    """
    for folder in (Path(run), RUNS / run):
        if record := read_record(folder):
            if record["status"] != "done" or not (folder / record["per_image"]).is_file():
                raise ValueError(f"The run {folder} has no {record['per_image']} (status: {record['status']}); choose another.")
            return folder
    known = sorted(path.parent.name for path in RUNS.glob(f"*/{RECORD}"))
    near = difflib.get_close_matches(Path(run).name, known, n=3) or known[:3]
    hint = f"finished runs in {RUNS}: {', '.join(near)}" if near else f"in {RUNS} no run has finished"
    raise ValueError(f"There is no finished run {run}; give its folder or its key ({hint}).")


def pictures_of(task: str) -> ModuleType:
    """The module ``<task>.pictures``, which has ``pictures(cfg, folder, num)`` and ``legend(cfg)``.

    Raises:
        ValueError: the task has none.
    """
    if find_spec(f"{task}.pictures") is None:
        able = ", ".join(sorted(path.parent.name for path in ROOT.glob("*/pictures.py")))
        raise ValueError(f"The task {task} has no pictures (no {task}/pictures.py); choose a run of one that has: {able}.")
    return import_module(f"{task}.pictures")


def title(record: dict) -> str:
    """What was run, and how well it did."""
    shown = [f"{name} {record['metrics'][name]:.2f}" for name in task_of(record).METRICS if name in record["metrics"]]
    what = f"{record['task']}, {record['network']} at scale {record['scale']}, seed {record['seed']}, run {record['key']}"
    return f"{what}: {', '.join(shown)} on {record['split']}"


def sheet(pictures: list[Image.Image], title: str, legend: str) -> Image.Image:
    """Pictures in rows, as many in each as fit, below the title and the legend."""
    widest = max(picture.width for picture in pictures)
    columns = min(len(pictures), max(1, (WIDTH - GAP) // (widest + GAP)))
    width = max(GAP + columns * (widest + GAP), WIDTH // 2)
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    lines = [(line, size) for text, size in ((title, 14), (legend, 12)) for line in textwrap.wrap(text, 2 * width // size)]
    top = GAP + 18 * len(lines) + GAP
    heights = [max(picture.height for picture in row) + GAP for row in rows]
    page = Image.new("RGB", (width, top + sum(heights)), "white")
    draw = ImageDraw.Draw(page)
    for i, (text, size) in enumerate(lines):
        draw.text((GAP, GAP + 18 * i), text, INK, ImageFont.load_default(size))
    for i, row in enumerate(rows):
        for k, picture in enumerate(row):
            page.paste(picture, (GAP + k * (widest + GAP), top + sum(heights[:i])))
    return page
