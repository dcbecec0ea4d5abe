"""Tensors and plain values as bytes, in torch's format; loading them runs no code."""

from __future__ import annotations

import io
from typing import Any

import torch


def to_bytes(content: Any) -> bytes:
    """Serialise with ``torch.save``."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> Any:
    """Deserialise with ``torch.load`` on the host; anything but tensors and plain values is refused.

    Raises:
        pickle.UnpicklingError: The data contains code.
        RuntimeError, EOFError: The data is damaged.
    """
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
