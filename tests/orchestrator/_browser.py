"""A headless Chromium that is spoken to over two pipes: its DevTools protocol, without a package for it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

PATH = next((path for name in NAMES if (path := shutil.which(name))), None)
"""Where a Chromium is installed, if one is."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the pages are ours, and root has no sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-breakpad",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=3600,3000",  # MLflow draws only what is in sight
    "--remote-debugging-pipe",
)

LAUNCH = """
import os, sys
reads, writes, *command = sys.argv[1:]
os.dup2(int(reads), 3)
os.dup2(int(writes), 4)
os.execv(command[0], command)
"""
"""Puts the ends of the pipes where the browser looks for them, in a process that has no other threads."""

PATIENCE = 120.0
"""Seconds in which a page has to show what is waited for."""


class PageError(Exception):
    """A request that the browser refused, such as one on a page that is being left."""


class Browser:
    """One page of a browser that keeps all its files in a folder.

    Args:
        folder: An empty folder with a short path, for a socket is put there.
    """

    def __init__(self, folder: Path) -> None:
        assert PATH is not None
        theirs, to_browser = os.pipe()
        self._from_browser, answers = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs, answers)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *map(str, ends), PATH, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=ends,
            start_new_session=True,
        )
        for end in (theirs, answers, *ends):
            os.close(end)
        self._to_browser = to_browser
        self._asked = 0
        self._read = b""
        self._session: str | None = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, address: str) -> None:
        """Leave the page for another one."""
        self._ask("Page.navigate", url="about:blank")  # an address that differs behind the # alone is the same page
        self._ask("Page.navigate", url=address)

    def wait_for(self, expression: str) -> Any:
        """The value of a JavaScript expression, once it is neither false nor empty.

        Raises:
            AssertionError: It does not come to be; the message holds the text of the page.
        """
        until = time.monotonic() + PATIENCE
        # The page looks after every frame, so an answer comes at once, or after a second to ask a new page too.
        look = f"""new Promise(done => {{
            const until = Date.now() + 1000
            const look = () => {{
                const found = {expression}
                const there = Array.isArray(found) ? found.length : found
                there || Date.now() > until ? done(there ? found : null) : setTimeout(look, 20)
            }}
            look()
        }})"""
        while time.monotonic() < until:
            with suppress(PageError):
                found = self._ask("Runtime.evaluate", expression=look, awaitPromise=True, returnByValue=True)
                if (value := found["result"].get("value")) is not None:
                    return value
        page = self._ask("Runtime.evaluate", expression="document.body.innerText")["result"].get("value")
        raise AssertionError(f"not on the page after {PATIENCE:.0f} s: {expression}\n{page}")

    def close(self) -> None:
        """End the browser, its processes too."""
        with suppress(AssertionError, OSError, subprocess.TimeoutExpired):
            self._session = None
            self._ask("Browser.close")
            self._process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to_browser)
        os.close(self._from_browser)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._asked += 1
        request: dict[str, Any] = {"id": self._asked, "method": method, "params": params}
        if self._session is not None:
            request["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(request).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("id") != self._asked:
                continue  # an event
            if "error" in answer or "exceptionDetails" in answer["result"]:
                raise PageError(answer)
            return dict(answer["result"])

    def _next(self) -> bytes:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from_browser], [], [], PATIENCE)
            assert ready, f"the browser says nothing for {PATIENCE:.0f} s"
            more = os.read(self._from_browser, 1 << 16)
            assert more, "the browser has ended"
            self._read += more
        message, _, self._read = self._read.partition(b"\0")
        return message
