"""Pictures of finished runs on one sheet: a task's own, under a head that says what they show."""

import difflib
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from backbones.common.drawing import run_labels
from backbones.common.files import atomic
from tools.engine.analysis.breakdowns import run_folders
from tools.engine.analysis.results import SCRATCH, Column, Results, column_of, load_results, seed_of
from tools.engine.config import having, part_of, resolve, task_of
from tools.engine.reporting.document import Sheet
from tools.engine.run_folder import CONFIG, RECORD, RUNS, SHEET, read_record

PICTURES = 12  # images on a sheet
PAIR, PAIRS = "side_by_side_{}.png", 8  # in a study's folder, one a task; how many images on it
CAPTION = "Title"  # the key of PNG's own list for what an image is
WIDTH, GAP = 1400, 10  # px: of a sheet at most, and between pictures
INK = "#1d1d1b"


def show(runs: Sequence[str | Path] | str | Path, num: int, out: Path | None = None, caption: str = "") -> Path:
    """Draws a sheet of ``num`` pictures of one or two finished runs and returns its path.

    Args:
        runs: the folder or the key of a run, or those of two of one task.
        num: how many images of the test data.
        out: a file for the sheet (PNG); ``pictures.png`` in the run's folder, ``beside_KEY.png`` in that of the first of two.
        caption: what the sheet starts with; it is kept in the file too, for the report.

    Raises:
        ValueError: no such run, one that has nothing to show, two that cannot stand side by side, or a task without pictures.
    """
    if num < 1:
        raise ValueError(f"--num is {num}; give 1 or more images.")
    runs = [runs] if isinstance(runs, str | Path) else list(runs)
    if not 1 <= len(runs) <= 2:
        raise ValueError(f"{len(runs)} runs are named; give one, or two to see them side by side.")
    folders = [find_run(run) for run in runs]
    records = [read_record(folder) for folder in folders]
    if len(tasks := {record["task"] for record in records}) > 1:
        raise ValueError(f"The runs are of {' and '.join(sorted(tasks))}; give two of one task.")
    task = pictures_of(records[0]["task"])
    cfg = resolve(folders[0] / CONFIG).cfg
    heads = [mark + title(record) for mark, record in zip(run_labels(len(records)), records, strict=True)]
    image = sheet(task.pictures(cfg, folders, num), [*[caption] * bool(caption), *heads], task.legend(cfg))
    out = Path(out or folders[0] / (SHEET if len(runs) == 1 else f"beside_{records[1]['key']}.png"))
    about = PngInfo()
    about.add_itxt(CAPTION, caption or "; ".join(heads))
    with atomic(out, "wb") as file:
        image.save(file, "PNG", optimize=True, pnginfo=about)
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


def draw_pairs(folder: Path, log: Callable[[str], None]) -> None:
    """Draws of each task the reference beside the recipe that gained most, of one seed, into a study's folder.

    Args:
        folder: of the study, with results.csv and study.json.
        log: gets a line for each that cannot be drawn.
    """
    results = load_results(folder)
    places = run_folders(results, folder)
    for task in results.tasks:
        path, pair = Path(folder) / PAIR.format(task), best_pair(results, task)
        if pair is None or caption_of(path) == pair[0]:
            continue
        caption, *runs = pair
        try:
            show([places.get(run, run) for run in runs], PAIRS, path, caption)
        except ValueError as error:
            log(f"{task}: no pictures side by side ({error})")


def best_pair(results: Results, task: str) -> tuple[str, str, str] | None:
    """A caption and the runs of the reference and of the recipe with the largest mean gain over it, of the first seed of both.

    The gain is that in the first of the study's columns in which the task has one. None without such a recipe; training from
    scratch is none.
    """
    columns = {column_of(row) for row in results.rows if row["task"] == task}
    for column in (column for column in results.columns if column in columns):
        means = {r: cell.spread.mean for r in results.study["recipes"] if (cell := results.cell(r, column)).points}
        others = [recipe for recipe in means if recipe not in (results.reference, SCRATCH)]
        if results.reference in means and others:
            best = max(others, key=means.get)
            sides = [_runs(results, recipe, column) for recipe in (results.reference, best)]
            if seed := next((seed for seed in sides[0] if seed in sides[1]), None):
                labels = " and ".join(map(str.__add__, run_labels(2), map(results.label, (results.reference, best))))
                runs = [side[seed] for side in sides]
                return f"{labels}, {task} by {column.network}, seed {seed} (runs {' and '.join(runs)})", *runs
    return None


def _runs(results: Results, recipe: str, column: Column) -> dict[str, str]:
    """{seed: run} of those of a recipe that are done; of several fine-tunings the first."""
    found: dict[str, str] = {}
    for row in results.rows:
        if row["recipe"] == recipe and column_of(row) == column and row["status"] == "done":
            found.setdefault(seed_of(row), row["run"])
    return found


def pair_sheets(folder: Path) -> tuple[Sheet, ...]:
    """The sheets that ``draw_pairs`` left in a study's folder, for its report."""
    return tuple(Sheet(path, path.name, caption_of(path) or path.stem) for path in sorted(Path(folder).glob(PAIR.format("*"))))


def caption_of(path: Path) -> str | None:
    """What a sheet says that it shows; None where there is none that can be read."""
    try:
        with Image.open(path) as image:
            return image.info.get(CAPTION)
    except (OSError, SyntaxError):  # PIL has both for a broken PNG
        return None


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
    """The module ``<task>.pictures``, which has ``pictures(cfg, folders, num)`` and ``legend(cfg)``.

    Raises:
        ValueError: the task has none.
    """
    if (module := part_of(task, "visualization")) is None:
        able = having("visualization")
        raise ValueError(f"The task {task} has no pictures (no {task}/visualization.py); choose a run of one that has: {able}.")
    return module


def title(record: dict) -> str:
    """What was run, and how well it did."""
    shown = [f"{name} {record['metrics'][name]:.2f}" for name in task_of(record).METRICS if name in record["metrics"]]
    what = f"{record['task']}, {record['network']} at scale {record['scale']}, seed {record['seed']}, run {record['key']}"
    return f"{what}: {', '.join(shown)} on {record['split']}"


def sheet(pictures: list[Image.Image], heads: Sequence[str], legend: str) -> Image.Image:
    """Pictures in rows, as many in each as fit, below the heads (a line each, where it fits) and the legend."""
    widest = max(picture.width for picture in pictures)
    columns = min(len(pictures), max(1, (WIDTH - GAP) // (widest + GAP)))
    width = max(GAP + columns * (widest + GAP), WIDTH // 2)
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    texts = [*((head, 14) for head in heads), (legend, 12)]
    lines = [(line, size) for text, size in texts for line in textwrap.wrap(text, 2 * width // size)]
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
