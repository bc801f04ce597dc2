"""A page in headless Chromium, driven over WebDriver by the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

needs_chromium = pytest.mark.skipif(
    not (DRIVER and CHROMIUM), reason="needs chromium and chromedriver"
)


class Browser:
    """One window; `js` runs a function's body in the page and returns what it returns."""

    def __init__(self, session: str) -> None:
        self.session = session

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self.session}/{path}".rstrip("/"), data, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]

    def open(self, path: Path) -> None:
        self.call("POST", "url", {"url": path.resolve().as_uri()})

    def js(self, body: str, *args: object) -> Any:
        return self.call("POST", "execute/sync", {"script": body, "args": list(args)})

    def find(self, css: str) -> list[str]:
        found = self.call("POST", "elements", {"using": "css selector", "value": css})
        return [next(iter(element.values())) for element in found]

    def click(self, element: str) -> None:
        """Click as a user does: it fails where the element is hidden or covered."""
        self.call("POST", f"element/{element}/click")

    def keys(self, element: str, text: str) -> None:
        self.call("POST", f"element/{element}/value", {"text": text})

    def cdp(self, command: str, **params: object) -> Any:
        return self.call("POST", "goog/cdp/execute", {"cmd": command, "params": params})

    def log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.call("POST", "se/log", {"type": kind}))

    def requests(self) -> list[str]:
        """Return the URLs that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def pdf(self) -> bytes:
        return base64.b64decode(self.call("POST", "print", {}))


@contextlib.contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Browser]:
    assert DRIVER is not None
    process = subprocess.Popen(
        [DRIVER, "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        port = next(
            found[1]
            for line in process.stdout
            if (found := re.search(r"started successfully on port (\d+)", line))
        )
        options = {
            "binary": CHROMIUM,
            "args": [
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                f"--window-size={width},{height}",
            ],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }
        root = Browser(f"http://127.0.0.1:{port}")
        made = root.call("POST", "session", {"capabilities": {"alwaysMatch": wanted}})
        page = Browser(f"http://127.0.0.1:{port}/session/{made['sessionId']}")
        try:
            yield page
        finally:
            with contextlib.suppress(OSError):
                page.call("DELETE", "")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and the browser, if it is there still
        process.wait(timeout=20)
