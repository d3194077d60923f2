"""Test that the documents agree with the code."""

import inspect
import re

from backbones.common.project import ROOT
from classification.schedule import learning_rates
from classification.tricks import TRICKS
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
