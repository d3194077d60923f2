"""Try the table of inputs: each is refused in one sentence that leaves nothing behind, or accepted with the right effect."""

import re
from collections import Counter

import pytest

from backbones.common.project import ROOT
from tests.helpers.inputs.calls import answer, snapshot
from tests.helpers.inputs.table import ROWS, Row

LONGEST = 700  # letters of an error
LEAST = 450  # rows


@pytest.fixture(autouse=True)
def surroundings(toy_root, tmp_path, monkeypatch):
    """Enter an empty working folder, with the synthetic data in DATA_ROOT and a cache of its own."""
    monkeypatch.setenv("DATA_ROOT", str(toy_root.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(toy_root.parent / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_input_gets_its_right_answer(row: Row, tmp_path):
    if row.prepare:
        row.prepare(tmp_path)
    before = snapshot(tmp_path)
    given = answer(row.tool, row.args, row.variables)
    said = given.out + given.err
    assert given.status == row.status, said
    assert "Traceback" not in said
    assert [word for word in row.words if word not in said] == [], said
    if row.status == 2:
        sentences = [line for line in given.err.splitlines() if "error: " in line]
        assert len(sentences) == 1 and len(sentences[0]) < LONGEST, given.err
        assert snapshot(tmp_path) == before


def test_the_docs_state_the_totals_of_the_table():
    """State in docs/reliability.md what this test prints if it fails; a tenth less is allowed, since new fields add rows."""
    totals = Counter(row.status == 2 for row in ROWS)
    actual = {"inputs": len(ROWS), "refused": totals[True], "accepted": totals[False]}
    text = (ROOT / "docs/reliability.md").read_text()
    stated = re.search(r"table of ([\d,]+) inputs: ([\d,]+) refused and ([\d,]+) accepted", text)
    for total, number in zip(actual.values(), stated.groups(), strict=True):
        assert 0.9 * total <= int(number.replace(",", "")) <= total, actual
    assert len(ROWS) >= LEAST and len({str(row) for row in ROWS}) == len(ROWS)
