"""Drive chromium in tests through the DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

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

    def open(self, page: Path, width: int, scheme: str = "light") -> None:
        """Load a page in a window ``width`` pixels wide, in the colour scheme 'light' or 'dark', and wait until it is drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
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

    def picture(self, whole: bool = True) -> bytes:
        """Return the page as PNG, or what the window shows of it."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])


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
