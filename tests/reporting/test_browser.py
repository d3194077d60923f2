"""Test the report's page in chromium: the answer on the first screen, at two widths, light and dark, offline and sortable."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.chromium import NAMES, browser
from tests.helpers.synthetic_report import VALUES, made_rows, made_study, write_study
from tools.engine.reporting.fidelity_report import write_fidelity
from tools.engine.reporting.report import write_report

BOTH = [(width, scheme) for width in (400, 1280) for scheme in ("light", "dark")]
LONG_NAME = "+ " + "smooth and_something_that_no_browser_can_break" * 2


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if not any(map(shutil.which, NAMES)):
        pytest.skip("chromium is not installed (make test-tools)")
    with browser(tmp_path_factory.mktemp("chromium")) as chromium_tab:
        yield chromium_tab


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Write the report of a synthetic study and return its page; one run has a sheet of pictures."""
    folder = tmp_path_factory.mktemp("study") / "demo-toy"
    rows = made_rows()
    runs = {key: run | {"pictures": f"../runs/{key}/pictures.png"} for key, run in made_study(rows)["runs"].items()}
    sheet = folder.parent / "runs/detection-smooth-0/pictures.png"
    sheet.parent.mkdir(parents=True)
    Image.new("RGB", (1400, 900), "red").save(sheet)
    return write_report(write_study(folder, rows, runs=runs))["report.html"]


@pytest.fixture(scope="module")
def wide_page(tmp_path_factory) -> Path:
    """Write the report of a study with a very long name and a recipe far from all others."""
    shifts = {"other": 0.5, "far": -40}
    values = VALUES | {r: {m: [v + shift for v in seeds] for m, seeds in VALUES["smooth"].items()} for r, shift in shifts.items()}
    folder = tmp_path_factory.mktemp("study") / "demo-toy"
    labels = {"b_standard": "B-standard", "smooth": LONG_NAME}
    return write_report(write_study(folder, made_rows(values), labels=labels))["report.html"]


def first_screen(tab, selector: str) -> list[bool]:
    """Return for each element of a selector whether it lies wholly on the first screen."""
    inside = "r => r.top >= 0 && r.bottom <= 900 && r.left >= 0 && r.right <= innerWidth"
    return tab.value(f"[...document.querySelectorAll('{selector}')].map(e => e.getBoundingClientRect()).map({inside})")


@pytest.mark.parametrize("width, scheme", BOTH)
def test_the_answer_is_on_the_first_screen(tab, page, width, scheme):
    tab.open(page, width, scheme)
    assert first_screen(tab, ".verdict") == [True]
    tiles = tab.value("[...document.querySelectorAll('.tile h2')].map(h => h.textContent)")
    assert tiles == ["top-1", "mAP", "mIoU"] and first_screen(tab, ".tile") == [True] * 3
    assert first_screen(tab, ".panel") == [True] * 3
    assert first_screen(tab, "main table")[0] or width == 400
    dark = tab.value("getComputedStyle(document.body).backgroundColor")
    assert dark == ("rgb(23, 23, 23)" if scheme == "dark" else "rgb(255, 255, 255)")


@pytest.mark.parametrize("width, scheme", BOTH)
def test_the_page_needs_nothing_from_outside_and_is_as_wide_as_its_window(tab, page, wide_page, width, scheme):
    for path in (page, wide_page):
        tab.open(path, width, scheme)
        tab.value("document.querySelectorAll('details').forEach(part => part.open = true)")
        tab.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert tab.loaded() == [path.as_uri()]
        assert tab.errors() == []
        assert tab.value("document.documentElement.scrollWidth") == tab.value("innerWidth") == width
        images = tab.value(
            "[...document.images].map(i => i.complete && i.naturalWidth > 300 && i.getBoundingClientRect().width > 300)"
        )
        assert len(images) == path.read_text().count("<img ") > 1 and all(images)
        assert len(path.read_bytes()) < 1_500_000


@pytest.mark.parametrize("width, scheme", BOTH)
def test_the_page_of_two_scales_fits_its_window_too(tab, page, width, scheme):
    _, files = write_fidelity(str(page.parent), "published")
    tab.open(files["fidelity.html"], width, scheme)
    assert tab.errors() == [] and tab.value("document.documentElement.scrollWidth") == width
    assert first_screen(tab, ".verdict") == [True] and tab.value("document.images[0].complete")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_on_its_ground(tab, page, scheme):
    tab.open(page, 1280, scheme)
    luminance = (
        "c => c.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)"
    )
    contrast = f"""(ground => [...document.querySelectorAll('main *')].filter(e => e.childNodes.length && e.textContent.trim()
        && !e.closest('.hidden, td.same, .tip, svg')).map(e => {{
        const [a, b] = [getComputedStyle(e).color, ground].map({luminance})
            .map(c => .2126 * c[0] + .7152 * c[1] + .0722 * c[2] + .05);
        return Math.max(a, b) / Math.min(a, b) }}))(getComputedStyle(document.body).backgroundColor)"""
    assert min(tab.value(contrast)) > 4.5  # WCAG AA


def column(tab, table: int, index: int) -> list[str]:
    """Return the first lines of the cells in a column of a table, from the top down."""
    cells = f"[...document.querySelectorAll('table')[{table}].tBodies[0].rows].map(row => row.cells[{index}])"
    return tab.value(f"{cells}.map(cell => cell.firstChild.textContent.trim())")


def test_a_click_on_a_head_sorts_by_its_column(tab, page):
    tab.open(page, 1280)
    click = "document.querySelectorAll('th button')[{}].click()"
    assert column(tab, 0, 0) == ["scratch", "B-standard", "+ smooth"]
    tab.value(click.format(2))
    assert column(tab, 0, 2) == ["64.80 ± 0.56", "60.63 ± 0.59", "20.43 ± 0.76"]  # from the largest down
    tab.value(click.format(2))
    assert column(tab, 0, 2) == ["20.43 ± 0.76", "60.63 ± 0.59", "64.80 ± 0.56"]
    tab.value(click.format(1))
    assert column(tab, 0, 0) == ["+ smooth", "B-standard", "scratch"]  # which has no top-1
    tab.value(click.format(0))
    assert column(tab, 0, 0) == ["+ smooth", "B-standard", "scratch"]
    assert tab.value("document.querySelector('th').getAttribute('aria-sort')") == "ascending"


def test_values_appear_on_hover_and_on_focus(tab, page):
    tab.open(page, 1280)
    shown = "(tip => [getComputedStyle(tip).visibility, tip.textContent])(document.querySelector('.tip'))"
    assert tab.value(shown)[0] == "hidden"
    place = tab.value(
        "(r => [r.left + r.width / 2, r.top + r.height / 2])(document.querySelectorAll('.row')[1].getBoundingClientRect())"
    )
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    visibility, text = tab.value(shown)
    assert visibility == "visible" and text.splitlines()[0] == "scratch, mAP"
    assert "20.43 against 60.63 of B-standard" in text and "worse, p < 0.001" in text
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=1270, y=890)
    assert tab.value(shown)[0] == "hidden"
    tab.value("document.querySelector('.row').focus()")
    assert tab.value(shown)[1].startswith("+ smooth, top-1")


def test_published_values_are_shown_on_demand(tab, page):
    tab.open(page, 1280)
    cell = "[...document.querySelectorAll('td')].find(cell => cell.textContent == '80.71 (+3.17)').checkVisibility()"
    assert tab.value(cell) is False
    tab.value("document.querySelector('.toggle').click()")
    assert tab.value(cell) is True


def test_content_wider_than_a_phone_scrolls_in_its_own_box(tab, wide_page):
    tab.open(wide_page, 400)
    boxes = "[...document.querySelectorAll('.scroll')]"
    wide = tab.value(
        f"{boxes}.filter(box => box.checkVisibility()).map(box => [box.scrollWidth > box.clientWidth, box.clientWidth])"
    )
    assert any(scrolls for scrolls, _ in wide) and all(width <= 400 for _, width in wide)
    box = f"{boxes}.find(box => box.scrollWidth > box.clientWidth + 50)"
    assert tab.value(f"(box => (box.scrollLeft = 50, box.scrollLeft))({box})") == 50


@pytest.mark.parametrize("width", [400, 1280])
def test_links_of_the_contents_open_their_sections(tab, page, width):
    tab.open(page, width)
    names = tab.value("[...document.querySelectorAll('nav a')].map(a => a.textContent)")
    assert names == ["Answer", *tab.value("[...document.querySelectorAll('summary h2')].map(h => h.textContent)")]
    assert first_screen(tab, "nav") == [True] and tab.value("document.querySelectorAll('details[open]').length") == 0
    assert all(tab.value("[...document.querySelectorAll('summary span')].map(span => span.textContent.length > 0)"))
    tab.value("[...document.querySelectorAll('nav a')].find(a => a.textContent == 'Cost').click()")
    tab.value("new Promise(done => setTimeout(done, 100))")
    assert tab.value("(part => [part.open, part.getBoundingClientRect().top < 900])(document.getElementById('cost'))") == [
        True,
        True,
    ]


def test_an_arrow_stands_for_what_lies_beyond_the_axis_of_the_plot(tab, wide_page):
    tab.open(wide_page, 1280)
    beyond = tab.value("[...document.querySelectorAll('.panel:nth-child(2) .beyond')].map(text => text.textContent)")
    assert beyond == ["◄", "◄"]  # scratch and far, whose values stand beside the plot
    ends = "e => (r => [r.left, r.right])(e.getBoundingClientRect())"
    marks = tab.value(f"[...document.querySelectorAll('.row .mark')].map(m => [m, m.closest('.panel')].map({ends}))")
    assert len(marks) > 4 and all(panel[0] <= mark[0] and mark[1] <= panel[1] for mark, panel in marks)


def test_a_page_that_breaks_these_rules_is_noticed(tab, tmp_path):
    page = tmp_path / "page.html"
    outside = "http://127.0.0.1:9/picture.png"
    script = "console.error('made'); throw new Error('thrown')"
    page.write_text(f'<img src="{outside}"><p style="width: 900px">wide</p><script>{script}</script>')
    tab.open(page, 400)
    assert tab.loaded() == [page.as_uri(), outside]
    assert "made" in str(tab.errors()) and "thrown" in str(tab.errors())
    assert tab.value("document.documentElement.scrollWidth") > 900
