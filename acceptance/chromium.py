"""Headless Chromium on its debugging pipe: what a page shows, prints, logs and asks the network for."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Path of the program, None if it is not on PATH."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Tab:
    """One page and all that happened to it.

    Attributes:
        requests: addresses that the page asked for, the page itself first.
        messages: what it wrote to the console, its errors, and what the browser complains of.
    """

    def __init__(self, to_browser: Any, from_browser: Any) -> None:
        self._to, self._from, self._count, self._session = to_browser, from_browser, 0, ""
        self._read = b""
        self._seen: set[str] = set()
        self.requests: list[str] = []
        self.messages: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; events that arrive before its answer are kept."""
        self._count += 1
        command: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._to.write(json.dumps(command).encode() + b"\0")
        self._to.flush()
        while True:
            message = self._next()
            if message.get("id") == self._count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])

    def open(self, path: Path, *, width: int = 1280, height: int = 900) -> None:
        """Load a file and wait until all of it is there."""
        self.resize(width, height)
        self._seen.discard("Page.loadEventFired")
        self.call("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._next()

    def resize(self, width: int, height: int = 900) -> None:
        """Make the window as wide and high, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "JavaScript failed"))
        return answer["result"].get("value")

    def screenshot(self, *, whole: bool = True) -> bytes:
        """PNG of the page from top to bottom, or of the window."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def pdf(self) -> bytes:
        """The page as it is printed, on the paper that its style sheet asks for."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            part = os.read(self._from.fileno(), 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._read += part
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method", ""), message.get("params", {})
        self._seen.add(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(argument.get("value", argument)) for argument in parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.messages.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.messages.append(f"{parameters['entry']['level']}: {parameters['entry']['text']}")


@contextmanager
def chromium(program: str) -> Iterator[Tab]:
    """A tab of a browser with a new profile; both end with the block."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        read_commands, write_commands = os.pipe()
        read_answers, write_answers = os.pipe()

        def place() -> None:
            # The browser reads commands from 3 and writes answers to 4; first both go where neither is in the way.
            commands, answers = os.dup(read_commands), os.dup(write_answers)
            high = [os.dup2(end, place, inheritable=True) for end, place in ((commands, 200), (answers, 201))]
            os.dup2(high[0], 3, inheritable=True)
            os.dup2(high[1], 4, inheritable=True)

        process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={profile}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=place,
            close_fds=False,
        )
        os.close(read_commands)
        os.close(write_answers)
        try:
            with open(write_commands, "wb") as to_browser, open(read_answers, "rb", buffering=0) as from_browser:
                yield Tab(to_browser, from_browser)
        finally:
            process.terminate()
            process.wait(20)
