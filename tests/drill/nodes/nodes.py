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
        """Return its processes as :class:`psutil.Process`, workers included."""
        ...


class Nodes(Protocol):
    """A cluster whose head has no worker, and whose other nodes have one each.

    Attributes:
        address: Address for the option ``--address`` of commands.
    """

    address: str

    def add(self) -> Node:
        """Start a node, and wait until it has joined."""
        ...

    def lose(self, node: Node) -> None:
        """``kill -9`` all processes of a node at once."""
        ...


StartNodes = Callable[[Mapping[str, str]], AbstractContextManager[Nodes]]
"""Function (environment variables) → context of a cluster that has only a head at first."""
