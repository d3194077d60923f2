"""Draw images of finished runs on one sheet, under a heading that says what they show."""

import difflib
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from backbones.common.drawing import run_labels
from backbones.common.files import atomic
from backbones.common.project import run_with_key
from tools.engine.analysis.breakdowns import run_folders
from tools.engine.analysis.results import SCRATCH, Column, Results, column_of, load_results, seed_of
from tools.engine.config import having, part_of, resolve, task_of
from tools.engine.reporting.document import Sheet
from tools.engine.run_folder import CONFIG, RECORD, RUNS, SHEET, read_record

PICTURES = 12  # images on a sheet
PAIR, PAIRS = "side_by_side_{}.png", 8  # a file in the study's folder for each task, and the number of images on it
CAPTION = "Title"  # PNG's standard key for a caption
WIDTH, GAP = 1400, 10  # px: largest width of a sheet, and space between pictures
INK = "#1d1d1b"


def show(runs: Sequence[str | Path] | str | Path, num: int, out: Path | None = None, caption: str = "") -> Path:
    """Draw a sheet of ``num`` pictures of one or two finished runs and return its path.

    Args:
        runs: folder or key of a run, or of two runs of one task.
        num: number of test images.
        out: PNG file of the sheet (default: ``pictures.png`` in the run's folder, or ``beside_KEY.png`` in the first of two).
        caption: first line of the sheet. The file stores it too, for the report.

    Raises:
        ValueError: a run does not exist or has nothing to show, two runs are not comparable, or the task draws no pictures.
    """
    runs = [runs] if isinstance(runs, str | Path) else list(runs)
    if not 1 <= len(runs) <= 2:
        raise ValueError(f"{len(runs)} runs are named; give one, or two to see them side by side.")
    folders = [finished_run(run) for run in runs]
    records = [read_record(folder) for folder in folders]
    if len(tasks := {record["task"] for record in records}) > 1:
        raise ValueError(f"The runs are of {' and '.join(sorted(tasks))}; give two of one task.")
    task = pictures_of(records[0]["task"])
    cfg = resolve(folders[0] / CONFIG).cfg
    heads = [mark + title(record) for mark, record in zip(run_labels(len(records)), records, strict=True)]
    lines = [caption, *heads] if caption else heads
    image = sheet(task.pictures(cfg, folders, num), lines, task.legend(cfg))
    out = Path(out or folders[0] / (SHEET if len(runs) == 1 else f"beside_{records[1]['key']}.png"))
    metadata = PngInfo()
    metadata.add_itxt(CAPTION, caption or "; ".join(heads))
    with atomic(out, "wb") as file:
        image.save(file, "PNG", optimize=True, pnginfo=metadata)
    return out


def draw_sheets(nodes: Iterable, log: Callable[[str], None]) -> None:
    """Draw the missing sheets: one for the first finished run of each recipe, task and network.

    Args:
        nodes: rows of a study.
        log: receives a line for each sheet that cannot be drawn.
    """
    handled = set()
    for node in nodes:
        combination = node.recipe, node.task, node.network
        if combination in handled or not (node.record and node.record["status"] == "done"):
            continue
        handled.add(combination)
        if not (node.folder / SHEET).is_file():
            try:
                show(node.folder, PICTURES)
            except ValueError as error:
                log(f"{node.name}: no pictures ({error})")


def draw_pairs(folder: Path, log: Callable[[str], None]) -> None:
    """Draw into a study's folder, for each task, the reference beside the recipe that gained most, both of one seed.

    Args:
        folder: study's folder, with results.csv and study.json.
        log: receives a line for each pair that cannot be drawn.
    """
    results = load_results(folder)
    folders = run_folders(results, folder)
    for task in results.tasks:
        path, pair = Path(folder) / PAIR.format(task), best_pair(results, task)
        if pair is None or caption_of(path) == pair[0]:
            continue
        caption, *runs = pair
        try:
            show([folders.get(run, run) for run in runs], PAIRS, path, caption)
        except ValueError as error:
            log(f"{task}: no pictures side by side ({error})")


def best_pair(results: Results, task: str) -> tuple[str, str, str] | None:
    """Return a caption, a run of the reference and a run of the recipe with the largest mean gain over it.

    Both runs are of the first seed that both recipes have. The gain is that in the first of the study's columns in which the
    task has one. Training from scratch does not compete. Return None if no recipe does.
    """
    columns = {column_of(row) for row in results.rows if row["task"] == task}
    for column in (column for column in results.columns if column in columns):
        means = {r: cell.spread.mean for r in results.study["recipes"] if (cell := results.cell(r, column)).points}
        others = [recipe for recipe in means if recipe not in (results.reference, SCRATCH)]
        if results.reference in means and others:
            pair = (results.reference, max(others, key=means.get))
            sides = [_runs(results, recipe, column) for recipe in pair]
            if seed := next((seed for seed in sides[0] if seed in sides[1]), None):
                labels = [mark + results.label(recipe) for mark, recipe in zip(run_labels(2), pair, strict=True)]
                runs = [side[seed] for side in sides]
                return f"{' and '.join(labels)}, {task} by {column.network}, seed {seed} (runs {' and '.join(runs)})", *runs
    return None


def _runs(results: Results, recipe: str, column: Column) -> dict[str, str]:
    """Return {seed: run} of a recipe's finished runs, with the first of several fine-tunings of a seed."""
    runs: dict[str, str] = {}
    for row in results.rows:
        if row["recipe"] == recipe and column_of(row) == column and row["status"] == "done":
            runs.setdefault(seed_of(row), row["run"])
    return runs


def pair_sheets(folder: Path) -> tuple[Sheet, ...]:
    """Return the sheets that ``draw_pairs`` left in a study's folder, for its report."""
    prefix, suffix = PAIR.split("{}")
    paths = sorted(Path(folder).glob(PAIR.format("*")))
    tasks = [path.name.removeprefix(prefix).removesuffix(suffix) for path in paths]
    return tuple(Sheet(p, p.name, caption_of(p) or p.stem, task) for p, task in zip(paths, tasks, strict=True))


def caption_of(path: Path) -> str | None:
    """Return the caption that a sheet's file stores, or None if the file or its caption is missing or unreadable."""
    try:
        with Image.open(path) as image:
            return image.info.get(CAPTION)
    except (OSError, SyntaxError):  # PIL raises either for a broken PNG
        return None


def finished_run(run: str | Path) -> Path:
    """Return the folder of a finished run, by its path, its key or the beginning of its key.

    Raises:
        ValueError: no run has this name (the message suggests the nearest), it has not finished, or it diverged.
    """
    folder = next((path for path in (Path(run), RUNS / run) if path.is_dir()), None) or run_with_key(run)
    if folder and (record := read_record(folder)):
        if record["status"] != "done" or not (folder / record["per_image"]).is_file():
            raise ValueError(f"The run {folder} has no {record['per_image']} (status: {record['status']}); choose another.")
        return folder
    finished = sorted(path.parent.name for path in RUNS.glob(f"*/{RECORD}"))
    nearest = difflib.get_close_matches(Path(run).name, finished, n=3) or finished[:3]
    hint = f"finished runs in {RUNS}: {', '.join(nearest)}" if nearest else f"no run in {RUNS} has finished"
    raise ValueError(f"There is no finished run {run}; give the folder or the key of one ({hint}).")


def pictures_of(task: str) -> ModuleType:
    """Return the module ``<task>.visualization``, which has ``pictures(cfg, folders, num)`` and ``legend(cfg)``.

    Raises:
        ValueError: the task has no such module.
    """
    if (module := part_of(task, "visualization")) is None:
        tasks = having("visualization")
        reason = f"The task {task} cannot draw pictures (no {task}/visualization.py)"
        raise ValueError(f"{reason}; choose a run of one of these tasks: {tasks}.")
    return module


def title(record: dict) -> str:
    """Return what was run and how well it did, in one line."""
    scores = [f"{name} {record['metrics'][name]:.2f}" for name in task_of(record).METRICS if name in record["metrics"]]
    run = f"{record['task']}, {record['network']} at scale {record['scale']}, seed {record['seed']}, run {record['key']}"
    return f"{run}: {', '.join(scores)} on {record['split']}"


def sheet(pictures: list[Image.Image], heads: Sequence[str], legend: str) -> Image.Image:
    """Arrange pictures in rows, as many in a row as fit, below the heads and the legend, which wrap where they are too long."""
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
