"""Where results of a data source are kept, so that the same is prepared once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.data.schema import VERSION


def cached(cache: Path, name: str, recipe: Mapping[str, Any]) -> Path:
    """The folder under ``cache`` of a result.

    Args:
        cache: Where all results are kept.
        name: Short name of what it is made from.
        recipe: All that it depends on; plain values for JSON. Equal recipes give equal folders.
    """
    text = json.dumps({"format": VERSION, **recipe}, sort_keys=False)
    return cache / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
