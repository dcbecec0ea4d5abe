"""A port counts as listening when it accepts a connection."""

from __future__ import annotations

import socket

import pytest

from nmt.orchestrator.cluster.connection import check_listening


def test_check_listening() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            check_listening("127.0.0.1", port)
        server.listen()
        check_listening("127.0.0.1", port)
