"""The report's page in a real browser, Debian's chromium: it needs nothing from outside, says no error, and fits a telephone."""

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from made_report import made_rows, write_study

from tools.engine.reporting.document import LONG, Report, Table, html
from tools.engine.reporting.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)


class Tab:
    """One tab of a chromium that is spoken to through a pipe, in its DevTools protocol: JSON with a zero byte behind each."""

    def __init__(self, requests: int, answers: int):
        self.requests, self.answers = os.fdopen(requests, "wb", buffering=0), os.fdopen(answers, "rb", buffering=0)
        self.events, self.rest, self.number, self.session = [], b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        """The result of a method; what happens meanwhile goes to ``events``."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.requests.write(json.dumps(message).encode() + b"\0")
        while "id" not in (answer := self._read()):
            self.events.append(answer)
        assert answer["id"] == self.number and "result" in answer, answer
        return answer["result"]

    def _read(self) -> dict:
        while b"\0" not in self.rest:
            part = self.answers.read(1 << 20)
            assert part, "chromium has ended"
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\0")
        return json.loads(line)

    def open(self, page: Path, width: int) -> None:
        """Loads a page in a window of so many pixels, and waits until all of it is there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.events = []
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")  # drawn, too

    def value(self, expression: str):
        """What JavaScript makes of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def loaded(self) -> list[str]:
        """The addresses that the page asked for, but those that are data themselves."""
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith("data:")]

    def errors(self) -> list[str]:
        """What the console says that is no mere remark."""
        texts = [e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"]
        calls = [e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled"]
        texts += [str(call["args"]) for call in calls if call["type"] in ("error", "warning", "assert")]
        return texts + [str(e["params"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"]

    def picture(self) -> bytes:
        """PNG of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@contextmanager
def browser(folder: Path):
    """A tab of a chromium with its files in ``folder``.

    Raises:
        FileNotFoundError: there is no chromium.
    """
    if not (program := next(filter(None, map(shutil.which, NAMES)), None)):
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed")
    (child_in, requests), (answers, child_out) = os.pipe(), os.pipe()
    command = [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    # the protocol's pipes are descriptors 3 and 4, whatever their numbers here
    script = f'exec "$@" 3<&{child_in} 4>&{child_out}'
    with open(folder / "chromium.log", "wb") as log:
        started = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=(child_in, child_out), stdout=log, stderr=log
        )
    os.close(child_in), os.close(child_out)
    try:
        yield Tab(requests, answers)
    finally:
        started.terminate()
        started.wait(20)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if not any(map(shutil.which, NAMES)) and os.environ.get("CI"):
        if not (shutil.which("apt-get") and os.geteuid() == 0):
            pytest.skip("no chromium here, and it can be installed only by apt-get, as root")
        for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            made = subprocess.run(
                ["apt-get", *words], capture_output=True, text=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            )
            if made.returncode:
                pytest.skip(f"no chromium here, and apt-get {words[0]} failed: {made.stderr.strip().splitlines()[-1:]}")
    if not any(map(shutil.which, NAMES)):
        pytest.skip("no chromium here (apt-get install --no-install-recommends chromium)")
    with browser(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of a made study, its names as long as names get."""
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


def test_what_is_wider_than_a_telephone_scrolls_in_its_own_box(tab, page):
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


def test_a_long_table_is_folded_until_one_opens_it(tab, tmp_path):
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


def test_a_page_that_breaks_these_rules_would_be_noticed(tab, tmp_path):
    page = tmp_path / "page.html"
    outside = "http://127.0.0.1:9/picture.png"
    script = "console.error('made'); throw new Error('thrown')"
    page.write_text(f'<img src="{outside}"><p style="width: 900px">wide</p><script>{script}</script>')
    tab.open(page, 400)
    assert tab.loaded() == [page.as_uri(), outside]
    assert "made" in str(tab.errors()) and "thrown" in str(tab.errors())
    assert tab.value("document.documentElement.scrollWidth") > 900
