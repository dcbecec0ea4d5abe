"""Standard error as JSON lines, for log collectors: everything that this process says is one JSON object a line.

Not only what the command says itself: Python's loggers, warnings, uncaught exceptions and whatever else is written to
``sys.stderr`` become such lines too, so that a collector meets no broken ones. Only the standard library is needed: a
job says so that its image lacks packages.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from orchestrator.credentials import without_credentials

VARIABLE = "NMT_LOG_FORMAT"
"""Environment variable with the format, ``text`` or ``json``; a pod sets it once."""

Level = Literal["info", "warning", "error"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BAD = re.compile(r"(critical|error|warning)\b", re.IGNORECASE)


def _utc() -> datetime:
    return datetime.now(UTC)


class JsonLog:
    """Writes lines of ``time`` (ISO 8601, UTC), ``level``, ``event``, ``message`` and further fields.

    A number that is not finite is ``null``, and credentials in any text are ``***``.

    Args:
        stream: Where to.
        now: The present time.
    """

    def __init__(self, stream: TextIO, now: Callable[[], datetime] = _utc) -> None:
        self._stream = stream
        self._now = now
        self._about: dict[str, Any] = {}
        self._lock = threading.RLock()
        # What a stream cannot encode would be written with Python's escapes, which are none of JSON's.
        self._ascii = (stream.encoding or "utf-8").lower().replace("-", "") != "utf8"

    def about(self, **fields: Any) -> None:
        """Fields of all further lines, such as ``verb`` and ``experiment``."""
        self._about.update(fields)

    def write(self, event: str, message: str, level: Level = "info", **fields: Any) -> None:
        """Write a line.

        Args:
            event: Its stable name.
            message: What a person would read.
            level: How bad it is.
            fields: Whatever else belongs to it.
        """
        time = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._put({"time": time, "level": level, "event": event, "message": message, **self._about, **fields})

    def take(self, line: str) -> None:
        """Take a line that somebody else wrote; one of such a log already, as a job's, stays what it is."""
        text = _COLOUR.sub("", line).rstrip()
        if not text:
            return
        found = _object(text)
        if found is None:
            self.write("output", text, _level_of(text))
        elif "event" in found:
            self._put(found)
        else:  # Ray's own form
            level = _level_of(str(found.get("levelname")))
            self.write("log", str(found.get("message", "")), level, content=found)

    def _put(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(_clean(content), ensure_ascii=self._ascii, allow_nan=False)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class _Lines(io.TextIOBase):
    """A stream whose lines go to the log; what was drawn over with a carriage return is left out."""

    def __init__(self, log: JsonLog, stream: TextIO) -> None:
        self._log = log
        self._stream = stream
        self._rest = ""
        self._lock = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, rest = (self._rest + text).split("\n")
            self._rest = rest.rpartition("\r")[2]
        for line in lines:
            self._log.take(line.rstrip("\r").rpartition("\r")[2])
        return len(text)


class _Records(logging.Handler):
    """Python's loggers, Ray's and MLflow's among them."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            bad: Level = "error" if record.levelno >= logging.ERROR else "warning"
            level: Level = bad if record.levelno >= logging.WARNING else "info"
            more = {"traceback": "".join(traceback.format_exception(*record.exc_info))} if record.exc_info else {}
            self._log.write("log", record.getMessage(), level, logger=record.name, **more)
        except Exception:
            self.handleError(record)


class _Installed:
    """What stands between this process and its standard error, and how to take it away again."""

    def __init__(self) -> None:
        self.stderr = sys.stderr
        self.log = JsonLog(sys.stderr)
        self.handler = _Records(self.log)
        self.hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        self.handlers = logging.getLogger().handlers[:]
        sys.stderr = _Lines(self.log, self.stderr)
        sys.excepthook = self._crashed
        threading.excepthook = self._thread_crashed
        sys.unraisablehook = self._unraisable
        logging.captureWarnings(True)
        self.take_loggers()

    def take_loggers(self) -> None:
        """Have the root logger's records, and Ray's, written as lines, once each."""
        logging.getLogger().handlers[:] = [self.handler]
        ray = logging.getLogger("ray")
        ray.handlers.clear()
        ray.propagate = True

    def remove(self) -> None:
        sys.stderr = self.stderr
        sys.excepthook, threading.excepthook, sys.unraisablehook = self.hooks
        logging.captureWarnings(False)
        logging.getLogger().handlers[:] = self.handlers

    def _crashed(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        lines = traceback.format_exception(kind, error, trace)
        self.log.write("crashed", lines[-1].strip(), "error", traceback="".join(lines), exit_status=1)

    def _thread_crashed(self, found: threading.ExceptHookArgs) -> None:
        lines = traceback.format_exception(found.exc_type, found.exc_value, found.exc_traceback)
        thread = found.thread.name if found.thread is not None else None
        self.log.write("thread_crashed", lines[-1].strip(), "error", traceback="".join(lines), thread=thread)

    def _unraisable(self, found: Any) -> None:
        lines = traceback.format_exception(found.exc_type, found.exc_value, found.exc_traceback)
        self.log.write(
            "log", f"{found.err_msg or 'exception ignored'}: {lines[-1].strip()}", "warning", traceback="".join(lines)
        )


_installed: _Installed | None = None


def install() -> JsonLog:
    """Make standard error a JSON log from now on; a second time changes nothing."""
    global _installed
    if _installed is None:
        _installed = _Installed()
    return _installed.log


def remove() -> None:
    """Make standard error what it was."""
    global _installed
    if _installed is not None:
        _installed.remove()
        _installed = None


def ray_options(verbose: bool) -> dict[str, Any]:
    """What ``ray.init`` takes so that loggers in Ray's workers write JSON too; nothing where text is wanted."""
    if _installed is None:
        return {}
    import ray

    return {"logging_config": ray.LoggingConfig(encoding="JSON", log_level="INFO" if verbose else "WARNING")}


def after_ray_started() -> None:
    """Take the loggers of this process back, to which Ray has added its own handlers."""
    if _installed is not None:
        _installed.take_loggers()


def _level_of(text: str) -> Level:
    """By the first word."""
    bad = _BAD.match(text)
    if bad is None:
        return "info"
    return "warning" if bad[1].lower() == "warning" else "error"


def _object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _clean(value: Any) -> Any:
    """JSON-ready content."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_clean(item) for item in value]
    return without_credentials(str(value))
