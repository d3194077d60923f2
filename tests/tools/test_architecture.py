"""The packages import downwards only, and each says what it is."""

import ast
from pathlib import Path

import pytest

from backbones.common.project import ROOT
from tools.draw_architecture import engine_rooms, floors, room_imports

PACKAGES = sorted(path.parent for folder in ("tools/engine", "backbones") for path in (ROOT / folder).glob("*/**/__init__.py"))


def test_the_engine_stands_on_four_floors_without_a_circle():
    rooms = room_imports()
    floors(rooms)  # no circle in all of the project
    levels = floors(engine_rooms(rooms, "tools.engine."))
    assert max(levels.values()) <= 4, levels
    assert {room for room, level in levels.items() if level == 1} >= {f"tools.engine.{name}" for name in ("config", "run_folder")}


def test_backbones_know_no_task_and_no_tool():
    rooms = room_imports()
    for room, others in rooms.items():
        if room.startswith("backbones"):
            assert all(other.startswith("backbones") for other in others), (room, others)


def test_tasks_know_the_backbones_and_not_each_other():
    rooms = room_imports()
    for task in ("classification", "detection", "segmentation"):
        assert all(other.startswith("backbones") for other in rooms[task]), (task, rooms[task])


def test_a_circle_is_found():
    with pytest.raises(ValueError, match="in a circle: .*a.*b.*; break it"):
        floors({"a": {"b"}, "b": {"c"}, "c": {"a"}})


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_a_package_says_what_it_is_and_what_it_holds(folder: Path):
    tree = ast.parse((folder / "__init__.py").read_text())
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    names = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    assert len(ast.get_docstring(tree).splitlines()) <= 3 and len(files) <= 12
    if folder.name != "config":  # which exports functions
        assert set(ast.literal_eval(names)) == files
