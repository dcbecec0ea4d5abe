"""Where in a user's own code an error arose."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import torch.distributed as dist

OURS = Path(__file__).resolve().parents[1]
"""Folder of this project's own rooms."""

_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()

_OF_A_LOST_WORKER = ("gloo", "nccl", "connection closed by peer", "connection reset", "broken pipe")
"""Words of errors that a lost worker causes in the others, whoever's code they pass through."""


def place_of(error: BaseException) -> str | None:
    """Return ``my.py, line 12: x = y / 0`` for the innermost line of the user's own that an error passed through.

    ``None`` where it passed through none, and for an error that a lost worker causes in the others.
    """
    if isinstance(error, dist.DistError) or any(word in str(error).lower() for word in _OF_A_LOST_WORKER):
        return None
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_users(frame.filename):
            return f"{frame.filename}, line {frame.lineno}: {frame.line}"
    return None


def is_users(file: str) -> bool:
    """Whether a source file is neither this project's, nor an installed package's, nor Python's."""
    if file.startswith("<"):
        return False
    path = Path(file).resolve()
    rooms = {OURS / room for room in ("trainers", "orchestrator", "experiments")}
    return not (is_installed(path) or rooms & {*path.parents})


def in_packages(place: Path) -> bool:
    """Whether a place is one of installed packages."""
    return any(part in ("site-packages", "dist-packages") for part in place.parts)


def is_installed(place: Path) -> bool:
    """Whether a place belongs to an installed package or to Python itself."""
    return in_packages(place) or _STANDARD_LIBRARY in place.parents


def definition_of(component: Callable[..., Any]) -> str | None:
    """Return ``my.py, line 5`` for a function, or for the ``forward`` or ``update`` of a class, of the user's own."""
    found: Any = component.func if isinstance(component, partial) else component
    if isinstance(found, type):
        found = getattr(found, "forward", None) or getattr(found, "update", found)
    code = getattr(found, "__code__", None)
    if not isinstance(code, CodeType) or not is_users(code.co_filename):
        return None
    return f"{code.co_filename}, line {code.co_firstlineno}"


def describe(error: BaseException) -> str:
    """Return ``ZeroDivisionError: division by zero``, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
