"""A connection is tried once."""

from __future__ import annotations

import socket

import pytest

from orchestrator.cluster.connection import check_listening


def test_whether_anything_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            check_listening("127.0.0.1", port)
        server.listen()
        check_listening("127.0.0.1", port)
