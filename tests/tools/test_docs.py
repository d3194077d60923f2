"""Test that the documents agree with the code."""

import contextlib
import functools
import inspect
import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.project import ROOT
from backbones.transfer.protocols import read_protocol
from classification.schedule import learning_rates
from classification.tricks import TRICKS
from detection.schema import DetectionProtocol
from segmentation.schema import SegmentationProtocol
from tests.helpers.inputs.calls import answer
from tools.engine.config import Options, resolve
from tools.write_tricks_page import BASE, SHOWN, UPDATES, draw, page


def test_the_page_of_tricks_agrees_with_the_docstrings():
    """Run python tools/write_tricks_page.py if this fails."""
    text = (ROOT / "docs/tricks.md").read_text()
    assert text == page()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert list(sections)[: len(TRICKS)] == list(TRICKS)
    for name, function in TRICKS.items():
        section = sections[name]
        assert " ".join(inspect.getdoc(function).split("\n\n")[0].split()) in section
        assert "**Why.** " in section and f"(../classification/tricks/{name}.py)" in section
        assert all(f"`{key}`" in section for key in function.sets)
        assert all(f"| `{option}` |" in section for option in list(inspect.signature(function).parameters)[1:])
        assert (f"{function.gain.points:+.2f}" in section) if function.gain else "Gain in the paper" not in section


def test_the_figure_is_drawn_from_the_schedulers(tmp_path):
    draw(tmp_path / "schedules.png")
    assert (tmp_path / "schedules.png").read_bytes()[:4] == b"\x89PNG" and (ROOT / "docs/schedules.png").is_file()
    rates = learning_rates(resolve(BASE, Options(tricks=SHOWN["cosine, warmup"])).cfg, UPDATES)
    assert len(rates) == 120 * UPDATES and max(rates) == rates[5 * UPDATES - 1] == 0.4


def test_schedules_that_are_equal_are_both_seen(tmp_path):
    draw(tmp_path / "schedules.png")
    with Image.open(tmp_path / "schedules.png") as image:
        pixels = np.asarray(image.convert("RGB"), int)[:, 120:500]  # right of the warmup, left of the legend
    for colour in ((31, 119, 180), (255, 127, 14)):  # steps, and steps with warmup
        assert (abs(pixels - colour).sum(2) < 60).sum() > 50


def documents() -> list[Path]:
    """Return the Markdown files that people write; those in docs/results/NAME are written by tools."""
    return [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "docs/results/README.md"]


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a Markdown file, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_every_link_of_a_document_leads_to_a_file_and_a_heading(document):
    text = document.read_text()
    links = [
        *re.findall(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)", text),
        *re.findall(r"^\[[^\]]+\]: (?!\w+:)([^#\s]*)#?(\S*)$", text, re.M),
    ]
    for file, anchor in links:
        target = document.parent / file if file else document
        assert target.exists(), f"{document.name}: {file}"
        assert not anchor or anchor in anchors(target), f"{document.name}: {file}#{anchor}"


def test_every_page_is_in_the_site_and_in_its_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"[\w/-]+\.md", text[text.index("nav:") : text.index("theme:")]))
    assert listed == {"index.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md"} | {
        path.name for path in (ROOT / "docs").glob("*.md")
    }


def readme() -> str:
    """Return the README before the list of the documentation at its end."""
    return (ROOT / "README.md").read_text().split("**Documentation:**")[0]


def test_the_readme_has_at_most_700_words():
    assert sum(bool(re.search(r"\w", word)) for word in readme().split()) <= 700


def test_the_readme_links_to_every_page_and_defines_every_link():
    text = (ROOT / "README.md").read_text()
    targets = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.M))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} | {"docs/results/README.md"} == set(targets.values())
    assert set(re.findall(r"\[([a-z]+)\](?!\()", text)) == set(targets)


def test_the_readme_expects_of_the_demo_what_the_demo_does():
    def ranges(text: str) -> dict[str, list[str]]:
        rows = re.findall(r"^\W*(scratch|B-standard|\+ smooth)\b(.* to .*)$", text, re.M)
        return {name: re.findall(r"[\d.]+", figures) for name, figures in rows}

    assert ranges(readme()) == ranges((ROOT / "configs/studies/demo.py").read_text())


def commands() -> dict[str, tuple[str, ...]]:
    """Return tool and arguments of every command in the documents, by its text; the log and the changelog have older ones."""
    found = {}
    for document in set(documents()) - {ROOT / "CHANGELOG.md", ROOT / "docs/LOG.md"}:
        text = document.read_text().replace("\\\n", " ")
        for command in re.findall(r"(?<![\w/])tools/(\w+\.py(?: [^`\n>|;&]*)?)", text):
            with contextlib.suppress(ValueError):  # a quotation mark of the sentence around it
                found[command] = tuple(shlex.split(command, comments=True))
    return found


@functools.cache
def options_of(tool: str, subcommand: str | None) -> set[str]:
    """Return the options that the help of a tool, or of its subcommand, names."""
    given = answer(tool, [subcommand, "--help"] if subcommand else ["--help"], {})
    assert given.status == 0, given
    return {*re.findall(r"--[\w-]+", given.out), "--help"}


@pytest.mark.parametrize("command", sorted(commands()))
def test_a_command_of_the_documents_has_options_and_files_that_exist(command):
    script, *args = commands()[command]
    tool = script.removesuffix(".py")
    assert (ROOT / "tools" / script).is_file()
    subcommand = args[0] if args and tool in ("study", "prepare_data") and not args[0].startswith("-") else None
    assert {arg.split("=")[0] for arg in args if re.match("--[a-z]", arg)} <= options_of(tool, subcommand)
    configs = [arg for arg in args if arg.startswith("configs/") and not re.search("[A-Z]{4}", arg)]
    assert all((ROOT / config).is_file() for config in configs)
    tricks = args[args.index("--tricks") + 1 :] if "--tricks" in args else []
    for trick in itertools.takewhile(lambda arg: not arg.startswith("-"), tricks):
        assert trick.split(":")[0] in TRICKS


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
