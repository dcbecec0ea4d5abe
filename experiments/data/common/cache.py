"""The cache of prepared folders: equal inputs are prepared once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nmt.trainers.data.schema import VERSION


def prepare_once(cache: Path, name: str, key: Mapping[str, Any], build: Callable[[Path], object]) -> Path:
    """Return the prepared folder for a key; build it if the cache has none.

    Args:
        cache: Folder of all prepared folders.
        name: Short name, the start of the folder's name.
        key: Everything the result depends on, as plain JSON values. Equal keys, in equal order, give the same folder.
        build: Writes the prepared data set to the folder that it is given.
    """
    # The order of keys counts: labels in another order are another data set.
    text = json.dumps({"format": VERSION, **key})
    folder = cache / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not (folder / "schema.json").exists():
        build(folder)
    return folder


def file_stamp(path: Path) -> tuple[str, int, int]:
    """Absolute path, size in bytes and time of change in nanoseconds: what a cache key knows of a file."""
    stat = path.stat()
    return str(path.resolve()), stat.st_size, stat.st_mtime_ns
