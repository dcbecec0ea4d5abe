"""The optional dependency torchjd."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def import_torchjd(module: str) -> ModuleType:
    """Import a module of torchjd.

    Raises:
        ImportError: torchjd is not installed; the message names the extra to install.
    """
    try:
        return import_module(f"torchjd.{module}")
    except ImportError as error:
        raise ImportError(
            f"this method needs torchjd, which is not installed ({error}); pip install 'no-more-tuning[methods]'"
        ) from error
