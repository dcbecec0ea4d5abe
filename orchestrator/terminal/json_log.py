"""A log of JSON lines, through the standard ``logging`` module.

Needs only the standard library: :mod:`nmt.orchestrator.cli.job` reports through it that packages are missing.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from nmt.orchestrator.credentials import without_credentials

Level = Literal["info", "warning", "error"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BAD = re.compile(r"(critical|error|warning)\b", re.IGNORECASE)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: ``time`` (ISO 8601, UTC), ``level``, ``event``, ``message``, further fields.

    :meth:`JsonLog.write` sets a record's ``event`` and ``fields``; the record of any other logger is a ``log`` with the
    logger's name. A number that is not finite becomes ``null``; credentials become ``***``.

    Args:
        ascii_only: Whether to escape all other characters.
    """

    def __init__(self, ascii_only: bool) -> None:
        super().__init__()
        self._ascii_only = ascii_only
        self.common: dict[str, Any] = {}
        """Fields of every line."""

    def format(self, record: logging.LogRecord) -> str:
        content = getattr(record, "line", None) or self._content(record)
        return json.dumps(_clean(content), ensure_ascii=self._ascii_only, allow_nan=False)

    def _content(self, record: logging.LogRecord) -> dict[str, Any]:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        bad = "error" if record.levelno >= logging.ERROR else "warning"
        return {
            "time": time.replace("+00:00", "Z"),
            "level": bad if record.levelno >= logging.WARNING else "info",
            "event": getattr(record, "event", "log"),
            "message": record.getMessage(),
            **self.common,
            **getattr(record, "fields", {"logger": record.name}),
            **({"traceback": self.formatException(record.exc_info)} if record.exc_info else {}),
        }


class JsonLog(logging.StreamHandler[TextIO]):
    """Writes records as JSON lines.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        # What a stream cannot encode would be written with Python's escapes, which are not JSON's.
        self._json = JsonFormatter(ascii_only=(stream.encoding or "utf-8").lower().replace("-", "") != "utf8")
        self.setFormatter(self._json)

    def about(self, **fields: Any) -> None:
        """Set fields of all further lines, such as ``verb`` and ``experiment``."""
        self._json.common.update(fields)

    def write(self, event: str, message: str, level: Level = "info", exc_info: Any = None, **fields: Any) -> None:
        """Write an event.

        Args:
            event: Its stable name.
            message: What a person reads.
            level: How bad it is.
            exc_info: Type, value and traceback of the exception that it is about.
            fields: What a program reads.
        """
        levelno = logging.getLevelNamesMapping()[level.upper()]
        content = {"levelno": levelno, "msg": message, "exc_info": exc_info, "event": event, "fields": fields}
        self.handle(logging.makeLogRecord(content))

    def write_line(self, text: str) -> None:
        """Write a line that was printed; a line of such a log, as a job's, keeps its content."""
        text = _COLOUR.sub("", text).rstrip()
        found = _json_object(text)
        if "event" in found:
            self.handle(logging.makeLogRecord({"line": found}))
        elif found:  # the form of Ray's loggers
            self.write("log", str(found.get("message", "")), _level(str(found.get("levelname"))), content=found)
        elif text:
            self.write("output", text, _level(text))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report a logger's record that cannot be formatted; where not even that can be written, give up."""
        if not hasattr(record, "event"):
            self.write("log", f"{record.msg} {record.args}", "warning", sys.exc_info(), logger=record.name)


def _level(text: str) -> Level:
    """Return the level that a text begins with."""
    bad = _BAD.match(text)
    if bad is None:
        return "info"
    return "warning" if bad[1].lower() == "warning" else "error"


def _json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a line; empty if there is none."""
    try:
        found = json.loads(text) if text.startswith("{") else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _clean(value: Any) -> Any:
    """Return JSON-ready content."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_clean(item) for item in value]
    return without_credentials(str(value))
