"""Whether anything listens at an address."""

from __future__ import annotations

import socket

_TIMEOUT_SECONDS = 10.0


def check_listening(host: str, port: int) -> None:
    """Connect once. Ray's own clients retry for minutes where nothing answers.

    Raises:
        OSError: Nothing listens there.
    """
    socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS).close()
