"""List files that a person may write for the tools: configs, protocols, studies, recipes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backbones.common.config_reader import read_config
from backbones.common.project import ROOT
from backbones.common.schema import field_names
from backbones.transfer.protocols import with_base
from tests.helpers.inputs.overrides import CONFIGS, PROTOCOLS
from tests.helpers.inputs.rows import Fault, Row, edited, faults
from tools.engine.config import task_of
from tools.engine.studies.study import StudySchema

SCRATCH = ("--backbone", "scratch")
NETWORKS = {  # sources of a card that cannot be used in a study, and words of the answer
    "timm:swin_tiny_patch4_window7_224.ms_in1k": "accepts only images of a fixed size, such as 224 x 224 px",
    "timm:vit_tiny_patch16_224.augreg_in21k": "strides 16, 16, 16; 4, 8, 16 and 32 are needed",
    "timm:densenet121.ra_in1k": "The last stage of densenet121 cannot be split off",
}


def rows() -> Iterator[Row]:
    for task, path in CONFIGS.items():
        yield from _of_config(task, path)
    yield from _of_study()


def writes(name: str, text: str) -> Callable[[Path], None]:
    """Return a function that writes a text file into the working folder."""

    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return prepare


def python(content: dict[str, Any]) -> str:
    """Return a mapping as a config file that sets each key."""
    return "".join(f"{key} = {value!r}\n" for key, value in content.items())


def _words(fault: Fault) -> tuple[str, ...]:
    if fault.kind == "misspelt":  # MMEngine's own dicts may have any name, so that one of its names is missing then
        return "own.py", fault.path[-1].removesuffix("x")
    return ("own.py lacks" if fault.kind == "missing" else "own.py", fault.path[-1])


def public(path: str | Path) -> dict[str, Any]:
    """Return the values of a config file without its private names."""
    return {key: value for key, value in read_config(ROOT / path).to_dict().items() if not key.startswith("_")}


def _of_config(task: str, path: str) -> Iterator[Row]:
    module = task_of({"task": task})
    backbone = () if task == "classification" else SCRATCH
    content = {key: value for key, value in public(path).items() if key in field_names(module.VALUES)}
    for fault in faults(module.VALUES, content):
        yield _row("config files", f"{task} {fault.name}", "print_config", ("own.py", *backbone), fault, python(fault.content))
    if task in PROTOCOLS:
        protocol = with_base(task, content["protocol"])
        for fault in faults(PROTOCOLS[task], protocol):
            text = python(edited(content, ("protocol",), fault.content))
            words = ("The protocol", fault.path[-1])
            yield Row(
                "protocols", f"{task} {fault.name}", "print_config", ("own.py", *SCRATCH), words, prepare=writes("own.py", text)
            )


def _of_study() -> Iterator[Row]:
    for name in ("demo", "table5", "table1", "public_weights"):
        for fault in faults(StudySchema, public(f"configs/studies/{name}.py")):
            yield _row("studies", f"{name} {fault.name}", "study", ("plan", "own.py"), fault, python(fault.content))
    for source, words in NETWORKS.items():
        text = python(edited(public("configs/studies/public_weights.py"), ("cards", "gluon_b", "source"), source))
        args, row = ("plan", "own.py", "--recipes", "gluon_b"), "The row gluon_b: "
        yield Row("studies", f"a card of {source}", "study", args, (row, words), prepare=writes("own.py", text))


def _row(area: str, name: str, tool: str, args: tuple[str, ...], fault: Fault, text: str) -> Row:
    return Row(area, name, tool, args, _words(fault), prepare=writes("own.py", text))
