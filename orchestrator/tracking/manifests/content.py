"""The JSON text of a manifest's file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def dump_manifest(content: dict[str, Any], version: int) -> str:
    """Return the text that :func:`parse_manifest` reads."""
    return json.dumps({"version": version, **content}, indent=1)


@contextmanager
def parse_manifest(text: str, version: int, kind: str) -> Iterator[dict[str, Any]]:
    """Parse a manifest; the caller builds it from the content within the context.

    Args:
        text: The file's text.
        version: The version that this program reads.
        kind: ``chain`` or ``group``, for messages.

    Raises:
        ValueError: The text is damaged or of another version, or the content does not make a manifest.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        found = raw.pop("version")
        if found != version:
            raise ValueError(f"found a manifest of version {found}, and this program reads version {version}")
        yield raw
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a {kind}'s manifest ({type(error).__name__}: {error})") from error
