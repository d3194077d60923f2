"""Write the comparison as a file that tools/study.py takes, and which documents itself."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.common.project import SCRATCH
from tools.engine.comparing.backbones import Backbone
from tools.engine.config import task_of
from tools.engine.config.loading import read
from tools.engine.study_folder.files import STUDY
from tools.engine.study_folder.names import FILE

SHOWN = 2  # metrics of a task in the tables: its first ones
TEXT = '''"""Compare {count} rows by what their backbones give in {tasks}.

python tools/compare.py {line}
python tools/study.py run {command}

tools/compare.py wrote this file; the second command does the same without it. Each card is one pretraining: seeds are those of
the transfer, and a gain belongs to these weights, not to the recipe that made them.{scratch}
"""

name = {name}
cards = {{  # label in tables: folder of the card
{cards}}}
recipes = [{recipes}]  # the rows
reference = {reference}  # gains are over this row
configs = {{
{configs}}}
metrics = [{metrics}]
published = {{}}  # no published numbers beside ours
scale = {scale}  # default of --scale
seeds = {seeds}  # default of --seeds: fine-tunings of each backbone
{protocol}'''


@dataclass(frozen=True)
class Request:
    """Hold what the command line of a comparison asks for.

    Args:
        line: arguments of tools/compare.py.
        study: arguments of ``tools/study.py run`` that do the same.
        scale, seeds, protocol: the options of these names, which become the defaults of tools/study.py.
    """

    line: str
    study: str
    scale: str
    seeds: int
    protocol: str | None = None


def study_text(name: str, backbones: Sequence[Backbone], configs: Mapping[str, str], request: Request) -> str:
    """Return the text of the study's file.

    Args:
        name: of the study.
        backbones: its rows; gains are over the first.
        configs: patterns of the configs by task.
        request: the command line that asks for it.
    """
    labels = [backbone.label for backbone in backbones]
    metrics = [metric for task in configs for metric in task_of({"task": task}).METRICS[:SHOWN]]
    scratch = f"\nThe row {SCRATCH} trains the network of the first card from random weights." if SCRATCH in labels else ""
    return TEXT.format(
        count=len(labels),
        tasks=" and ".join(configs),
        line=_in_docstring(request.line),
        command=_in_docstring(request.study),
        scratch=scratch,
        name=_literal(name),
        cards="".join(map(_card_lines, backbones)),
        recipes=", ".join(map(_literal, labels)),
        reference=_literal(labels[0]),
        configs="".join(f"    {_literal(task)}: {_literal(path)},\n" for task, path in configs.items()),
        metrics=", ".join(map(_literal, metrics)),
        scale=_literal(request.scale),
        seeds=request.seeds,
        protocol=f"protocol = {_literal(request.protocol)}  # default of --protocol\n" if request.protocol else "",
    )


def _card_lines(backbone: Backbone) -> str:
    """Return the lines of a row's card: a comment on its origin, its label and its folder; none from scratch."""
    if backbone.card is None:
        return ""
    about = " ".join(f"{backbone.source}: {backbone.describe()}".splitlines())
    return f"    # {about}\n    {_literal(backbone.label)}: {_literal(str(backbone.card))},\n"


def _literal(text: str) -> str:
    """Return a text as Python code."""
    return json.dumps(text, ensure_ascii=False)


def _in_docstring(text: str) -> str:
    """Return a text as it is written in a docstring."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def refuse_folder(folder: Path, labels: Sequence[str]) -> None:
    """Refuse the folder of another study, or of a comparison that has other rows, whose report this one would replace.

    Args:
        folder: of the comparison's table.
        labels: of its rows. If they include all of the earlier comparison, its file may be replaced.

    Raises:
        ValueError: the folder is refused; says what it holds.
    """
    path = folder / FILE
    if path.is_file():
        earlier = read(path).get("recipes", ())
        if gone := [label for label in earlier if label not in labels]:
            raise ValueError(
                f"{path} compares {', '.join(earlier)}, and {', '.join(gone)} is not among the rows given now; choose another "
                "name with --name, or remove that folder (finished runs stay in work_dirs/runs)."
            )
    elif os.path.exists(folder / STUDY):
        raise ValueError(f"{folder} holds the table of another study; choose another name with --name.")
