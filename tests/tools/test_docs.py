"""Test that the documents agree with the code."""

import inspect
import re

import pytest

from backbones.common.project import ROOT
from backbones.transfer.protocols import read_protocol
from classification.schedule import learning_rates
from classification.tricks import TRICKS
from detection.schema import DetectionProtocol
from segmentation.schema import SegmentationProtocol
from tools.engine.config import Options, resolve
from tools.write_tricks_page import BASE, SHOWN, UPDATES, draw, page


def test_the_page_of_tricks_agrees_with_the_docstrings():
    """Run python tools/write_tricks_page.py if this fails."""
    text = (ROOT / "docs/tricks.md").read_text()
    assert text == page()
    rows = re.findall(r"^\| \[`(\w+)`\]", text, re.MULTILINE)
    assert rows == list(TRICKS)
    for name, function in TRICKS.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| [`{name}`]"))
        assert " ".join(inspect.getdoc(function).split("\n\n")[0].split()) in line
        assert all(f"`{key}`" in line for key in function.sets)


def test_the_figure_is_drawn_from_the_schedulers(tmp_path):
    draw(tmp_path / "schedules.png")
    assert (tmp_path / "schedules.png").read_bytes()[:4] == b"\x89PNG" and (ROOT / "docs/schedules.png").is_file()
    rates = learning_rates(resolve(BASE, Options(tricks=SHOWN["cosine, warmup"])).cfg, UPDATES)
    assert len(rates) == 120 * UPDATES and max(rates) == rates[5 * UPDATES - 1] == 0.4


def test_every_file_that_the_documents_link_to_exists():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def protocol_rows():
    """Yield (task, value, protocol, cell) of the tables of docs/protocols.md."""
    for task, section in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/protocols.md").read_text(), re.M | re.S):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in re.findall(r"^\|.*$", section, re.M)]
        for row in rows[2:]:
            if row[0] == "behaviour":
                break
            for protocol, cell in zip(rows[0][1:], row[1:], strict=True):
                yield task.lower(), row[0], protocol, cell


def test_the_page_of_protocols_has_every_value_of_every_protocol():
    listed = {}
    for task, value, protocol, cell in protocol_rows():
        value, *parts = re.findall(r"`(\w+)`", value)
        here = eval(re.findall(r"`([^`]+)`", cell)[-1], {"tuple": tuple, "range": range})
        configured = read_protocol(task, protocol)[value]
        if parts:
            configured = tuple(configured[part] for part in parts) if len(parts) > 1 else configured[parts[0]]
        assert here == configured, (protocol, value)
        assert ("; here" in cell) == (value in read_protocol(task, protocol)["chosen"]), (protocol, value)
        listed.setdefault((task, protocol), set()).add(value)
    assert set(listed) == {("detection", p) for p in ("gluoncv2018", "detectron2", "moco")} | {
        ("segmentation", p) for p in ("gluoncv2018", "mmseg")
    }
    for (task, protocol), values in listed.items():
        assert values == set(read_protocol(task, protocol)) - {"name", "source", "chosen", "networks"}


@pytest.mark.parametrize("schema", [DetectionProtocol, SegmentationProtocol])
def test_the_page_of_protocols_names_what_all_protocols_share(schema):
    text = (ROOT / "docs/protocols.md").read_text()
    assert all(f"| `{name}` | {here} |" in text for name, here in schema.COMMON.items())
