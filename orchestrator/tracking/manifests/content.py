"""The content of a manifest's file, whatever it is of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def to_text(content: dict[str, Any], version: int) -> str:
    """Text that :func:`of_text` reads."""
    return json.dumps({"version": version, **content}, indent=1)


@contextmanager
def of_text(text: str, version: int, what: str) -> Iterator[dict[str, Any]]:
    """The content, to make a manifest of within the context.

    Args:
        text: The file's text.
        version: The version that this program reads.
        what: What the manifest is of, for messages.

    Raises:
        ValueError: The text is damaged, was written by a program that this one does not understand, or no manifest
            can be made of it.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        found = raw.pop("version")
        if found != version:
            raise ValueError(f"manifest version {found}, and this program reads version {version}")
        yield raw
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a {what}'s manifest ({type(error).__name__}: {error})") from error
