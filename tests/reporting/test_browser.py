"""Test the report's page in chromium: it loads nothing from outside, logs no error, and fits a phone."""

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.synthetic_report import made_rows, write_study
from tools.engine.reporting.document import LONG, Report, Table, html
from tools.engine.reporting.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)


class Tab:
    """Control one tab of chromium through a pipe in the DevTools protocol: JSON messages, each with a zero byte at its end."""

    def __init__(self, requests: int, answers: int):
        self.requests, self.answers = os.fdopen(requests, "wb", buffering=0), os.fdopen(answers, "rb", buffering=0)
        self.events, self.buffer, self.number, self.session = [], b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        """Call a method and return its result. Events that arrive meanwhile are appended to ``events``."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.requests.write(json.dumps(message).encode() + b"\0")
        while "id" not in (answer := self._read()):
            self.events.append(answer)
        assert answer["id"] == self.number and "result" in answer, answer
        return answer["result"]

    def _read(self) -> dict:
        while b"\0" not in self.buffer:
            part = self.answers.read(1 << 20)
            assert part, "chromium has ended"
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def open(self, page: Path, width: int) -> None:
        """Load a page in a window ``width`` pixels wide and wait until it is drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.events = []
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # drawn, too

    def value(self, expression: str):
        """Evaluate a JavaScript expression in the page and return its value."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def loaded(self) -> list[str]:
        """Return the addresses that the page requested, except data URLs."""
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def errors(self) -> list[str]:
        """Return the errors and warnings of the console."""
        texts = [e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"]
        calls = [e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled"]
        texts += [str(call["args"]) for call in calls if call["type"] in ("error", "warning", "assert")]
        return texts + [str(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"]

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@contextmanager
def browser(folder: Path):
    """Yield a tab of chromium, which keeps its files in ``folder``.

    Raises:
        FileNotFoundError: chromium is not installed.
    """
    if not (program := next(filter(None, map(shutil.which, NAMES)), None)):
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed")
    (child_in, requests), (answers, child_out) = os.pipe(), os.pipe()
    command = [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    # the protocol needs its pipes at descriptors 3 and 4; here they have other numbers
    script = f'exec "$@" 3<&{child_in} 4>&{child_out}'
    with open(folder / "chromium.log", "wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=(child_in, child_out), stdout=log, stderr=log
        )
    os.close(child_in), os.close(child_out)
    try:
        yield Tab(requests, answers)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if not any(map(shutil.which, NAMES)):
        pytest.skip("chromium is not installed (make test-tools)")
    with browser(tmp_path_factory.mktemp("chromium")) as chromium_tab:
        yield chromium_tab


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Write the report of a synthetic study with very long names and return its page."""
    folder = tmp_path_factory.mktemp("study") / "demo-toy"
    labels = {"b_standard": "B-standard", "smooth": "+ " + "smooth and_something_that_no_browser_can_break" * 2}
    return write_report(write_study(folder, made_rows(), labels=labels))["report.html"]


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_needs_nothing_from_outside_and_is_as_wide_as_its_window(tab, page, width):
    tab.open(page, width)
    assert tab.loaded() == [page.as_uri()]
    assert tab.errors() == []
    assert tab.value("document.documentElement.scrollWidth") == tab.value("innerWidth") == width
    images = tab.value("[...document.images].map(i => [i.complete, i.naturalWidth > 300, i.getBoundingClientRect().width > 300])")
    assert len(images) == page.read_text().count("<img ") > 1 and all(map(all, images))


def test_content_wider_than_a_phone_scrolls_in_its_own_box(tab, page):
    tab.open(page, 400)
    boxes = "[...document.querySelectorAll('.scroll')]"
    wide = tab.value(f"{boxes}.map(box => [box.scrollWidth > box.clientWidth, box.clientWidth])")
    assert any(scrolls for scrolls, _ in wide) and all(width <= 400 for _, width in wide)
    assert (
        tab.value(f"(box => (box.scrollLeft = 50, box.scrollLeft))({boxes}.find(box => box.scrollWidth > box.clientWidth + 50))")
        == 50
    )


def test_links_lead_to_their_sections(tab, page):
    tab.open(page, 1280)
    names = tab.value("[...document.querySelectorAll('nav a')].map(a => a.textContent)")
    assert names == tab.value("[...document.querySelectorAll('h2')].map(h => h.textContent)") and "Results" in names
    jump = "(a => (a.click(), document.querySelector(a.hash).getBoundingClientRect().top))"
    assert abs(tab.value(f"{jump}([...document.querySelectorAll('nav a')].find(a => a.textContent == 'Cost'))")) < 900


def test_a_long_table_is_folded_until_it_is_opened(tab, tmp_path):
    long = Table("Long", "lr", ["a", "b"], [[str(i), "1"] for i in range(LONG + 1)])
    short = Table("Short", "lr", ["a", "b"], long.rows[:LONG])
    page = tmp_path / "page.html"
    page.write_text(html(Report("made", "Two tables.", [long, short], [], ())))
    tab.open(page, 1280)
    visible = "[...document.querySelectorAll('table')].map(t => t.checkVisibility())"
    assert tab.value("document.querySelector('summary').textContent") == f"{LONG + 1} rows"
    assert tab.value(visible) == [False, True]
    tab.value("document.querySelector('summary').click()")
    assert tab.value(visible) == [True, True]


def test_a_page_that_breaks_these_rules_is_noticed(tab, tmp_path):
    page = tmp_path / "page.html"
    outside = "http://127.0.0.1:9/picture.png"
    script = "console.error('made'); throw new Error('thrown')"
    page.write_text(f'<img src="{outside}"><p style="width: 900px">wide</p><script>{script}</script>')
    tab.open(page, 400)
    assert tab.loaded() == [page.as_uri(), outside]
    assert "made" in str(tab.errors()) and "thrown" in str(tab.errors())
    assert tab.value("document.documentElement.scrollWidth") > 900
