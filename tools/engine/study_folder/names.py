"""Find the file of a study and the folder of its table by the names that a person types."""

import difflib
import os
from pathlib import Path

from backbones.common.project import CONFIGS, SCALES, WORK
from tools.engine.study_folder.files import TABLE

STUDIES = CONFIGS / "studies"
RECIPES = STUDIES / "recipes.py"
FILE = "study.py"  # of a comparison, in the folder of its table


def study_names() -> list[str]:
    """Return the names of the studies of configs/studies."""
    return sorted(path.stem for path in STUDIES.glob("*.py") if path != RECIPES)


def find_study(name: str) -> str:
    """Return the path of a study's file: ``name`` itself, that of a study of configs/studies, or one in a folder of work_dirs.

    Raises:
        ValueError: a name without a path names no study; names the nearest.
    """
    stem = name.removesuffix(".py")
    if os.path.isfile(name) or not stem or os.path.basename(name) != name:
        return name
    for path in (STUDIES / f"{stem}.py", WORK / stem / FILE):
        if path.is_file():
            return str(path)
    names = study_names()
    nearest = difflib.get_close_matches(stem, names, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(nearest)}" if nearest else f"all: {', '.join(names)}"
    raise ValueError(f"There is no study {name}; {hint}.")


def folder_of(name: str) -> str:
    """Return the folder of a study's table: a path as it is, STUDY-SCALE below work_dirs, or STUDY's only one there.

    Raises:
        ValueError: the study has tables at several scales, or none (says how to make it), or there is no such study.
    """
    if os.path.isdir(name) or os.path.basename(name) != name:
        return name
    if (WORK / name).is_dir():
        return str(WORK / name)
    folders = [folder for scale in SCALES if ((folder := WORK / f"{name}-{scale}") / TABLE).is_file()]
    if len(folders) > 1:
        raise ValueError(f"{name} has tables at several scales; give one of {', '.join(folder.name for folder in folders)}.")
    if folders:
        return str(folders[0])
    names = study_names()
    full = f"{name}-{SCALES[0]}" if name in names else name
    if _split(full)[0] in names:
        raise ValueError(f"There is no {WORK / full} yet; make it with {how_to_make(WORK / full)}.")
    present = sorted(path.parent.name for path in WORK.glob(f"*/{TABLE}"))
    nearest = difflib.get_close_matches(name, [*present, *names], n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(nearest)}" if nearest else f"with a table: {', '.join(present) or 'none yet'}"
    raise ValueError(f"There is no study {name}, and no folder of this name; {hint}.")


def how_to_make(folder: Path) -> str:
    """Return the command that makes the table in a study's folder."""
    name, scale = _split(folder.name)
    if (folder / FILE).is_file():
        return f"python tools/study.py run {folder / FILE}"
    if name not in study_names() or folder.absolute().parent != WORK.absolute():
        return "python tools/collect.py STUDY --scale SCALE"
    return f"python tools/study.py run {name}{'' if scale == SCALES[0] else f' --scale {scale}'} --seeds 3"


def _split(name: str) -> tuple[str, str]:
    """Return the study and the scale in the name of a folder, ('demo', 'toy') of 'demo-toy'; empty where there is no scale."""
    study, _, scale = name.rpartition("-")
    return (study, scale) if scale in SCALES else ("", "")
