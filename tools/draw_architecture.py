"""Draw docs/architecture.png: the packages of the project and what each imports, read from the imports themselves.

  python tools/draw_architecture.py

A package stands one floor above the highest one that it imports. The script fails where packages import each other in a circle.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from backbones.common.files import atomic
from backbones.common.project import ROOT
from tools.engine.cli import CommandParser, main

GROUPS = ("backbones", "tools/engine")  # folders whose packages and modules are drawn one by one
OTHERS = ("classification", "detection", "segmentation")  # packages that are drawn as one box
FIGURE = ROOT / "docs/architecture.png"


def room_of(module: str) -> str | None:
    """Return the room of a dotted module name: a package or module of a group, or a task's package; None for others."""
    parts = module.split(".")
    for group in GROUPS:
        names = group.split("/")
        if parts[: len(names)] == names:
            return ".".join(parts[: len(names) + 1]) if len(parts) > len(names) else None
    return parts[0] if parts[0] in OTHERS else None


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, at any depth of its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_imports() -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    files = [path for folder in (*GROUPS, *OTHERS) for path in sorted((ROOT / folder).rglob("*.py"))]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    rooms: dict[str, set[str]] = {room: set() for module in modules if (room := room_of(module))}
    for module, path in modules.items():
        if room := room_of(module):
            named = {room_of(name) for name in imported(path) if name in modules or name.rpartition(".")[0] in modules}
            rooms[room] |= {other for other in named if other in rooms and other != room}
    return rooms


def floors(rooms: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room: 1 where it imports no other room, else one above the highest that it imports.

    Raises:
        ValueError: rooms import each other in a circle.
    """
    try:
        order = list(TopologicalSorter(rooms).static_order())
    except CycleError as error:
        raise ValueError(f"Packages import each other in a circle: {' -> '.join(error.args[1])}; break it.") from None
    floor: dict[str, int] = {}
    for room in order:
        floor[room] = 1 + max((floor[other] for other in rooms[room]), default=0)
    return floor


def engine_rooms(rooms: dict[str, set[str]], prefix: str) -> dict[str, set[str]]:
    """Return the rooms below a prefix, with the imports among them alone."""
    inside = {room for room in rooms if room.startswith(prefix)}
    return {room: rooms[room] & inside for room in sorted(inside)}


def draw(path: Path) -> None:
    """Draw the rooms of each group on their floors, with an arrow from each room to those that it imports."""
    from matplotlib.figure import Figure

    rooms = room_imports()
    floors(rooms)
    figure = Figure(figsize=(11, 9), layout="constrained")
    for axes, group in zip(figure.subplots(2, 1, height_ratios=(1, 1.25)), GROUPS, strict=True):
        inside = engine_rooms(rooms, group.replace("/", ".") + ".")
        floor = floors(inside)
        rows = {level: [room for room in inside if floor[room] == level] for level in sorted(set(floor.values()))}
        widest = max(map(len, rows.values()))
        boxes = {}
        for level, row in rows.items():
            for i, room in enumerate(row):
                x = (i + 0.5) * widest / len(row) + 0.17 * (-1) ** level  # so that arrows do not lie on one another
                style = dict(boxstyle="round,pad=0.4", facecolor="#eef3fb", edgecolor="#3b6fb6")
                name = room.rpartition(".")[2]
                boxes[room] = axes.text(x, level, name, ha="center", va="center", fontsize=10, bbox=style, zorder=3)
        for room, others in inside.items():
            for other in others:
                ends = dict(patchA=boxes[room].get_bbox_patch(), patchB=boxes[other].get_bbox_patch(), shrinkA=0, shrinkB=3)
                arrow = dict(arrowstyle="->", color="#8a8a8a", linewidth=0.8) | ends
                axes.annotate("", boxes[other].get_position(), boxes[room].get_position(), arrowprops=arrow)
        axes.set(xlim=(0, widest), ylim=(0.5, max(rows) + 0.5), title=f"{group}/", xticks=[])
        axes.set_yticks(sorted(rows), [f"floor {level}" for level in sorted(rows)])
        axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
        axes.tick_params(length=0)
    with atomic(path, "wb") as file:
        figure.savefig(file, format="png", dpi=100)


def draw_architecture() -> None:
    CommandParser(description=__doc__).parse_args()
    draw(FIGURE)
    print(FIGURE)


if __name__ == "__main__":
    main(draw_architecture)
