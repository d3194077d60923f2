"""Write docs/tricks.md from the docstrings of the tricks, and docs/schedules.png from the schedulers.

python tools/write_tricks_page.py
"""

import inspect
import re
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this tree's packages, whatever else is installed

from backbones.common.files import atomic, write_text
from backbones.common.project import ROOT
from classification.tricks import TRICKS
from tools.engine.cli import CommandParser, main
from tools.engine.config import Options, resolve

DOCS = ROOT / "docs"
HSV = "--cfg-options train_dataloader.dataset.pipeline.2.form=hsv"
BASE = "configs/classification/resnet50_paper.py"
UPDATES = 50  # for each epoch; the 1251 of ImageNet at batch 1024 give the same curves
SHOWN = {
    "steps": ["large_batch"],
    "steps, warmup": ["large_batch", "warmup"],
    "cosine, warmup": ["large_batch", "warmup", "cosine"],
    "cosine, warmup, mixup (200 epochs)": ["large_batch", "warmup", "cosine", "mixup"],
}
HEAD = """# The tricks

Each trick is one function in `classification/tricks/` that edits a config. Add tricks to a pretraining by name, with options
after a colon: `--tricks resnet_d cosine mixup:alpha=0.4`. They are applied in the order of this page, whatever the order given.
A trick that would change nothing is refused.

Gains are the paper's own, in points of ImageNet top-1. They are single runs, and some lie within the noise (one recipe spreads by
about 0.5 from run to run). They were not measured here; what was is in [results](results/README.md). This page is written by
`python tools/write_tricks_page.py` from the functions.

| trick | what it does | gain in the paper |
| --- | --- | --- |
"""
TAIL = """
## Schedules

The learning rate of every update at scale paper, read off MMEngine's schedulers as the runner steps them.

![learning rate by epoch: steps and cosine, with warmup](schedules.png)

## Where paper and code differ

Both forms exist; the first is the default.

| what | forms | how to choose |
| --- | --- | --- |
| warmup | the paper's i eta / m, i = 1..m; GluonCV's t eta / m, t = 0..m-1 | `warmup:start=first`, `start=zero` |
| smoothed targets | the paper's eps / (K - 1); GluonCV's and torch's eps / K | `label_smoothing:form=paper`, `form=uniform` |
| distillation | the paper's equation 6; GluonCV's half of it | `distillation:form=paper`, `form=gluoncv` |
| epochs with mixup | 5/3 as many, as published; as many as without | `mixup:schedule=paper`, `schedule=same` |
| initial values | Xavier-uniform as the paper says; MSRAPrelu as in GluonCV's script | `--cfg-options model.init=msra_prelu` |
| colour jitter | brightness, contrast, saturation as in the code; hue, saturation, value as the paper says | `{HSV}` |

The published numbers come from the code's forms where the two differ.
"""


def page() -> str:
    """Return the text of docs/tricks.md."""
    rows = "".join(_row(name) for name in TRICKS)
    return HEAD + rows + "".join(_section(name) for name in TRICKS) + TAIL.replace("{HSV}", HSV)


def _row(name: str) -> str:
    function = TRICKS[name]
    return f"| [`{name}`](#{name}) | {summary(function)} | {_gain(function.gain)} |\n"


def summary(function) -> str:
    """Return the first paragraph of a docstring on one line."""
    return _paragraphs(function)[0]


def why(function) -> str:
    """Return the reason for a trick, the paragraph of its docstring that begins with "Why:"."""
    reasons = [text.removeprefix("Why: ") for text in _paragraphs(function) if text.startswith("Why: ")]
    if not reasons:
        raise ValueError(f"The docstring of {function.__name__} has no paragraph that begins with 'Why: '; add one.")
    return reasons[0][0].upper() + reasons[0][1:]


def _section(name: str) -> str:
    """Return the section of a trick: what it does, why, its options, its gain and its code."""
    function = TRICKS[name]
    details = [text for text in _paragraphs(function)[1:] if not text.startswith("Why: ")]
    facts = [
        ("Gain in the paper", _gain(function.gain)),
        ("Excludes", _excludes(name)),
        ("Changes", ", ".join(f"`{key}`" for key in function.sets)),
        ("Code", f"[`classification/tricks/{name}.py`](../classification/tricks/{name}.py)"),
    ]
    lines = "".join(f"- **{label}**: {text}\n" for label, text in facts if text != "-")
    return "\n\n".join([f"\n## {name}", summary(function), f"**Why.** {why(function)}", *details, *_options(function), lines])


def _options(function) -> list[str]:
    """Return the table of a trick's options, or nothing."""
    rows = [f"| `{name}` | {default} | {text} |" for name, default, text in options(function)]
    return ["\n".join(["| option | default | meaning |", "| --- | --- | --- |", *rows])] if rows else []


def options(function) -> list[tuple[str, str, str]]:
    """Return (name, default, meaning) of each option of a trick."""
    described = dict(re.findall(r"^    (\w+): (.*?)(?=\n    \w+: |\Z)", _part(function, "Args"), re.S | re.M))
    parameters = list(inspect.signature(function).parameters.values())[1:]
    defaults = {p.name: f"`{p.default}`" if p.default != "" else "required" for p in parameters}
    return [(name, default, " ".join(described[name].split())) for name, default in defaults.items()]


def _paragraphs(function) -> list[str]:
    """Return the paragraphs of a docstring before its parts "Args" and "Raises", each on one line."""
    text = re.split(r"\n\n(?:Args|Raises):\n", inspect.getdoc(function))[0]
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _part(function, title: str) -> str:
    """Return the part of a docstring under ``title``, or an empty text."""
    found = re.search(rf"\n\n{title}:\n(.*?)(?=\n\n|\Z)", inspect.getdoc(function), re.S)
    return found[1] if found else ""


def _excludes(name: str) -> str:
    group = TRICKS[name].group
    rivals = [trick for trick in TRICKS if group and trick != name and TRICKS[trick].group == group]
    return f"{', '.join(f'`{trick}`' for trick in rivals)}: each sets the {group}" if rivals else "-"


def _gain(gain) -> str:
    if gain is None:
        return "-"
    row, (base, base_column) = gain.own[0], gain.over
    over = f"{base} at {base_column.split('_')[0].upper()}" if row == base else base
    return f"{gain.points:+.2f}, {gain.table.replace('table', 'Table ')}: {row} over {over}"


def draw(path: Path) -> None:
    """Draw the learning rate by epoch of each schedule in ``SHOWN``."""
    from matplotlib.figure import Figure

    from classification.schedule import learning_rates

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for label, tricks in SHOWN.items():
        rates = learning_rates(resolve(BASE, Options(tricks=tricks)).cfg, UPDATES)
        # where two schedules are equal, as steps with warmup and without, both are seen
        style = (0, (3, 3)) if label == "steps, warmup" else "-"
        axes.plot([i / UPDATES for i in range(len(rates))], rates, linestyle=style, label=label, linewidth=1.2)
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=0, xlim=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)


def write() -> None:
    CommandParser(description=__doc__).parse_args()
    write_text(DOCS / "tricks.md", page())
    draw(DOCS / "schedules.png")


if __name__ == "__main__":
    main(write)
