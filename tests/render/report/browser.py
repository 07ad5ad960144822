"""Headless Chromium, driven over the DevTools protocol through a pair of pipes: no port, no network, no further package."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
UNUSED = ("SpareRendererForSitePerProcess", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup")
"""Features of Chromium that nobody sees here: the last two draw two pages for each window's address bar."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    f"--disable-features={','.join(UNUSED)}",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--process-per-site",
    "--remote-debugging-pipe",
)
PATIENCE = 30.0
"""Seconds that an answer may take on a machine that has much else to do."""
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Enter": 13, "Tab": 9}
"""Keys that are no character, with the codes that pages see."""


class Browser:
    """One process for many pages; close it, or it stays."""

    def __init__(self, program: str, folder: Path) -> None:
        asked, self._to = _high_pipe()
        self._from, told = _high_pipe()
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, asked, 3), (os.POSIX_SPAWN_DUP2, told, 4)]
        words = [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self._child = os.posix_spawn(program, words, os.environ, file_actions=[*quiet, *pipes], setpgroup=0)
        os.close(asked)
        os.close(told)
        self._rest, self._asked = b"", 0
        self.pages: dict[str, Page] = {}

    def call(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Ask, wait for the answer, and let the pages see what happens meanwhile.

        Raises ``RuntimeError`` for a refusal and ``TimeoutError`` where no answer comes.
        """
        self._asked += 1
        asked = self._asked
        message = {"id": asked, "method": method, "params": params} | ({"sessionId": session} if session else {})
        what, deadline = f"the answer to {method} {json.dumps(params)[:300]}", time.monotonic() + PATIENCE
        _write(self._to, message, what, deadline)
        while True:
            answer = self.next(what, deadline)
            if answer.get("id") == asked:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def next(self, what: str, deadline: float) -> dict[str, Any]:
        """The next message; an event is given to its page as well.

        Raises ``TimeoutError`` where the deadline has passed, whatever came meanwhile; it tells ``what`` was waited for.
        """
        _in_time(what, deadline)
        while b"\0" not in self._rest:
            _ready([self._from], [], what, deadline)
            read = os.read(self._from, 1 << 20)
            if not read:
                raise ConnectionError("the browser is gone")
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if "method" in found and (page := self.pages.get(found.get("sessionId", ""))):
            page.events.append(found)
        return found

    @contextmanager
    def page(self, width: int = 960, height: int = 640) -> Iterator[Page]:
        """An empty page of its own, gone afterwards."""
        target = self.call("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session)
        page.resize(width, height)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        try:
            yield page
        finally:
            self.call("Target.closeTarget", targetId=target)
            del self.pages[session]

    def close(self) -> None:
        with suppress(OSError, RuntimeError):
            self.call("Browser.close")
        for pipe in (self._to, self._from):
            os.close(pipe)
        deadline = time.monotonic() + 10.0
        while os.waitpid(self._child, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(self._child, signal.SIGKILL)
            time.sleep(0.02)


class Page:
    """What a person does with a page, and what the page did: ``events`` are those of the DevTools protocol."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.events: list[dict[str, Any]] = []
        self._stuck = ""

    def call(self, method: str, **params: Any) -> Any:
        """Ask the page. One that once did not answer is not waited for again: every later call tells of the first."""
        with self._waiting():
            return self._browser.call(method, self._session, **params)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        if self._stuck:
            raise TimeoutError(self._stuck)
        try:
            yield
        except TimeoutError as error:
            last = ", ".join(event["method"] for event in self.events[-5:])
            self._stuck = f"{error}; the last events of the page: {last or 'none'}"
            raise TimeoutError(self._stuck) from None

    def open(self, url: str) -> None:
        """Load a page and wait until it has drawn itself."""
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + PATIENCE
        with self._waiting():
            while not self.seen("Page.loadEventFired"):
                self._browser.next(f"the load event of {url}", deadline)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn. Raises ``RuntimeError`` where the page draws no frame."""
        late = f"() => fail(new Error('no frame drawn in {PATIENCE / 2:g} s: the page is ' + document.visibilityState))"
        frames = "requestAnimationFrame(() => requestAnimationFrame(() => { clearTimeout(late); done(); }))"
        self.run(f"new Promise((done, fail) => {{ const late = setTimeout({late}, {500 * PATIENCE:.0f}); {frames}; }})")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise's when it is kept. Raises ``RuntimeError`` for what it throws."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window, scrolled into it."""
        found = json.dumps(selector)
        self.run(f"document.querySelector({found}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        left, top, width, height = self.run(
            f"(({{x, y, width, height}}) => [x, y, width, height])(document.querySelector({found}).getBoundingClientRect())"
        )
        return left, top, width, height

    def point(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Move the pointer to a place within an element, in shares of its width and height."""
        left, top, width, height = self.box(selector)
        self._mouse("mouseMoved", left + across * width, top + down * height)
        self.settle()

    def click(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        self.point(selector, across, down)
        left, top, width, height = self.box(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, left + across * width, top + down * height, button="left", clickCount=1)
        self.settle()

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, key: str) -> None:
        """A key, where the focus is."""
        shown = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, 0)} | ({} if key in KEYS else {"text": key})
        self.call("Input.dispatchKeyEvent", type="keyDown" if "text" in shown else "rawKeyDown", **shown)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=KEYS.get(key, 0))
        self.settle()

    def write(self, selector: str, text: str) -> None:
        """Type into a field, in the place of what stands there."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus(); document.activeElement.select()")
        self.call("Input.insertText", text=text)
        self.settle()

    def choose(self, selector: str, value: str | int) -> None:
        """Set a slider or a list as a hand does, with the events that follow."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.run(
            f"{field}.value = {json.dumps(value)}; for (const e of ['input', 'change']) {field}.dispatchEvent(new Event(e))"
        )
        self.settle()

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, kind: str = "", *, dark: bool = False) -> None:
        """Show the page as for ``print`` or the screen, to somebody who prefers dark or light."""
        wish = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=kind, features=wish)
        self.settle()

    def picture(self, selector: str | None = None) -> NDArray[np.uint8]:
        """Red, green and blue of an element's pixels (height, width, 3), or of the whole page's."""
        whole = selector is None
        if selector is None:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            left, top, width, height = 0.0, 0.0, size["width"], size["height"]
        else:
            left, top, width, height = self.box(selector)
            top += self.run("window.scrollY")
        clip = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=whole, optimizeForSpeed=True)
        with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
            return np.asarray(image.convert("RGB"))

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def seen(self, method: str) -> list[dict[str, Any]]:
        """The parameters of the events of one kind so far."""
        return [event["params"] for event in self.events if event["method"] == method]

    @property
    def complaints(self) -> list[str]:
        """What went wrong in the page: exceptions, errors and warnings of its console, what its policy forbade."""
        thrown = [
            e["exceptionDetails"].get("exception", {}).get("description", "?") for e in self.seen("Runtime.exceptionThrown")
        ]
        said = [str(e["args"]) for e in self.seen("Runtime.consoleAPICalled") if e["type"] in ("error", "warning", "assert")]
        logged = [e["entry"]["text"] for e in self.seen("Log.entryAdded") if e["entry"]["level"] in ("error", "warning")]
        return thrown + said + logged

    @property
    def requests(self) -> list[str]:
        """The addresses that the page asked for, its own among them."""
        return [e["request"]["url"] for e in self.seen("Network.requestWillBeSent")]


def _high_pipe() -> tuple[int, int]:
    """A pipe whose ends are none of the numbers that a child is given its own by."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]


def _write(pipe: int, message: dict[str, Any], what: str, deadline: float) -> None:
    rest = json.dumps(message).encode() + b"\0"
    while rest:
        _ready([], [pipe], what, deadline)
        rest = rest[os.write(pipe, rest[: select.PIPE_BUF]) :]  # so much never blocks where a pipe is ready


def _ready(reading: list[int], writing: list[int], what: str, deadline: float) -> None:
    """Wait for a pipe. Raises ``TimeoutError``."""
    while not any(select.select(reading, writing, [], max(deadline - time.monotonic(), 0.0))):
        _in_time(what, deadline)


def _in_time(what: str, deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise TimeoutError(f"the browser was waited for in vain: {what} did not come in {PATIENCE:g} s")
