"""Chromium, driven through its DevTools protocol over a pipe: for tests of pages, without further packages."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
)
PATIENCE = 60.0  # seconds, on a busy machine


def browser_path() -> str | None:
    """Return where a browser is; None if none is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class BrowserError(AssertionError):
    """What the browser, or a script in a page, complains of."""


class Browser:
    """A browser with one page. Messages go through file descriptors 3 and 4, each ending with a zero byte.

    Args:
        folder: an empty one, for its profile and downloads.
    """

    def __init__(self, path: str, folder: Path):
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._received = b""
        command = [path, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self._process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" 3<&0 4>&1 0</dev/null 1>&2', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self._session = session
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._session = None
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    # --- The protocol -------------------------------------------------------------------------------------------------

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result. BrowserError if there is none."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while True:
            answer = self._message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]

    def _message(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\0" not in self._received:
            ready, _, _ = select.select([pipe], [], [], PATIENCE)
            piece = os.read(pipe, 2**20) if ready else b""
            if not piece:
                raise BrowserError("The browser does not answer.")
            self._received += piece
        text, _, self._received = self._received.partition(b"\0")
        message = json.loads(text)
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        return message

    # --- What a user does ---------------------------------------------------------------------------------------------

    def open(self, address: str) -> None:
        """Open a page, whole."""
        self.call("Page.navigate", url=address)
        self.wait("location.protocol !== 'about:' && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, once it is there if it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = PATIENCE) -> Any:
        """Wait until an expression is true; return its value."""
        return waited(lambda: self.run(script), script, seconds)

    def click(self, selector: str) -> None:
        """Click an element."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, value: object) -> None:
        """Give an input a value, as if it were typed."""
        self.run(
            f"(() => {{ const input = document.querySelector({json.dumps(selector)});"
            f"input.value = {json.dumps(value)};"
            "input.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in a dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def drag(self, selector: str, right: float, down: float, steps: int = 6) -> None:
        """Drag from the middle of an element so many pixels."""
        x, y = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        mouse = {"button": "left", "clickCount": 1, "pointerType": "mouse"}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, buttons=1, **mouse)
        for step in range(1, steps + 1):
            share = step / steps
            place = {"x": x + share * right, "y": y + share * down}
            self.call("Input.dispatchMouseEvent", type="mouseMoved", buttons=1, **place, **mouse)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x + right, y=y + down, **mouse)

    def press(self, key: str, code: str | None = None) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code or key)

    def look(self, width: int, height: int, scheme: str = "light", scale: float = 1.0) -> None:
        """Let the window be so large, in CSS pixels, and light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 700,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what the window shows as a PNG; `whole`: all of the page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def downloaded(self, pattern: str) -> Path:
        """Wait for a file that is saved, whole; return its path."""

        def whole() -> list[Path]:
            is_coming = any(self.downloads.glob("*.crdownload"))
            return [] if is_coming else [path for path in self.downloads.glob(pattern) if path.stat().st_size]

        return waited(whole, f"a download {pattern}")[0]


def waited(ask: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until a function returns something true; return that."""
    end = time.monotonic() + seconds
    while not (value := ask()):
        if time.monotonic() > end:
            raise BrowserError(f"Waited {seconds:g} s for {what}")
        time.sleep(0.02)
    return value


@contextlib.contextmanager
def opened(path: str, folder: Path) -> Iterator[Browser]:
    """Yield a browser, which is ended behind the block."""
    browser = Browser(path, folder)
    try:
        yield browser
    finally:
        browser.close()
