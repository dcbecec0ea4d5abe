"""A Ray cluster whose nodes come and go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Node(Protocol):
    """A node for one worker.

    Attributes:
        address: Its IP address.
    """

    address: str

    def processes(self) -> list[Any]:
        """What runs on it at present, as :class:`psutil.Process`; the workers are among them."""
        ...


class Nodes(Protocol):
    """A cluster: its head holds no worker, each further node holds one.

    Attributes:
        address: What commands take as ``--address``.
    """

    address: str

    def add(self) -> Node:
        """Start a node, and wait until it has joined."""
        ...

    def lose(self, node: Node) -> None:
        """``kill -9`` of everything on a node at once."""
        ...


StartNodes = Callable[[Mapping[str, str]], AbstractContextManager[Nodes]]
"""Starts a cluster without nodes for workers, with these environment variables; it ends with the context."""
