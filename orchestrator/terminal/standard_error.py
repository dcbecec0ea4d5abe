"""Standard error as a JSON log: a log collector meets one JSON object a line, whoever writes it.

Records of all loggers, Ray's and MLflow's among them, warnings, uncaught exceptions and what is printed to
``sys.stderr`` become lines of the log.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from nmt.orchestrator.terminal.json_log import JsonLog

VARIABLE = "NMT_LOG_FORMAT"
"""Environment variable with the format of standard error, ``text`` or ``json``; a pod sets it once."""


class _Stream(io.TextIOBase):
    """Passes printed lines to the log, without what a carriage return overwrote."""

    def __init__(self, log: JsonLog) -> None:
        self._log = log
        self._rest = ""
        self._lock = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._log.stream.encoding

    def fileno(self) -> int:
        return self._log.stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, rest = (self._rest + text).split("\n")
            self._rest = rest.rpartition("\r")[2]
        for line in lines:
            self._log.write_line(line.rstrip("\r").rpartition("\r")[2])
        return len(text)


class _Capture:
    """What stands between this process and its standard error."""

    def __init__(self) -> None:
        self.log = JsonLog(sys.stderr)
        self._hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        self._handlers = logging.getLogger().handlers[:]
        sys.stderr = _Stream(self.log)
        sys.excepthook = self._report_crash
        threading.excepthook = self._report_thread
        sys.unraisablehook = self._report_unraisable
        logging.captureWarnings(True)
        self.take_loggers()

    def take_loggers(self) -> None:
        """Make this log the only handler of the root logger's records and of Ray's."""
        logging.getLogger().handlers[:] = [self.log]
        ray = logging.getLogger("ray")
        ray.handlers.clear()
        ray.propagate = True

    def end(self) -> None:
        sys.stderr = self.log.stream
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._hooks
        logging.captureWarnings(False)
        logging.getLogger().handlers[:] = self._handlers

    def _report_crash(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.log.write("crashed", _last_line(kind, error), "error", (kind, error, trace), exit_status=1)

    def _report_thread(self, found: threading.ExceptHookArgs) -> None:
        message = _last_line(found.exc_type, found.exc_value)
        thread = found.thread.name if found.thread is not None else None
        self.log.write("thread_crashed", message, "error", tuple(found[:3]), thread=thread)

    def _report_unraisable(self, found: Any) -> None:
        message = f"{found.err_msg or 'exception ignored'}: {_last_line(found.exc_type, found.exc_value)}"
        self.log.write("log", message, "warning", (found.exc_type, found.exc_value, found.exc_traceback))


_capture: _Capture | None = None


def capture() -> JsonLog:
    """Make standard error a JSON log from now on; a second time changes nothing."""
    global _capture
    if _capture is None:
        _capture = _Capture()
    return _capture.log


def release() -> None:
    """Make standard error what it was."""
    global _capture
    if _capture is not None:
        _capture.end()
        _capture = None


def ray_options(verbose: bool) -> dict[str, Any]:
    """Return the options of ``ray.init`` that make loggers in Ray's workers write JSON; none where text is wanted."""
    if _capture is None:
        return {}
    import ray

    return {"logging_config": ray.LoggingConfig(encoding="JSON", log_level="INFO" if verbose else "WARNING")}


def after_ray_started() -> None:
    """Take back this process's loggers, to which Ray has added its own handlers."""
    if _capture is not None:
        _capture.take_loggers()


def _last_line(kind: type[BaseException] | None, error: BaseException | None) -> str:
    return traceback.format_exception_only(kind, error)[-1].strip()
