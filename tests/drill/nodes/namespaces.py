"""Nodes with addresses of their own: each in a Linux network namespace, all on one bridge.

The head, which holds no worker, and the commands are in the namespace of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.drill.errors import DrillError, SkippedError
from tests.drill.family import psutil
from tests.drill.nodes.nodes import Node, Nodes
from tests.drill.nodes.ray_start import RayStart

_CABLE = "eth0"
"""What a node's network device is called in its namespace."""


def why_not() -> str | None:
    """Why this machine cannot have such nodes; ``None`` when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces take Linux and root"
    if shutil.which("ip") is None:
        return "there is no command ip; install iproute2"
    name = f"nmt-try-{os.getpid()}"
    tried = subprocess.run(["ip", "link", "add", name[:15], "type", "bridge"], capture_output=True, text=True)
    if tried.returncode:
        return f"this machine makes no bridges: {tried.stderr.strip()}"
    _ip("link", "del", name[:15])
    return None


@dataclass
class NamespaceNode:
    """A node in a namespace of its own.

    Attributes:
        name: The namespace.
        address: Its address on the bridge.
        start: The command that started it and waits.
    """

    name: str
    address: str
    start: RayStart | None = None

    def processes(self) -> list[Any]:
        """All that runs in the namespace."""
        found = []
        for pid in _ip("netns", "pids", self.name).split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found


class NamespaceNodes:
    """A cluster on a bridge of this machine.

    Args:
        environment: Environment variables of all nodes.
        folder: Where they log; short, since Ray's sockets are below it.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._bridge = f"nmt{os.getpid()}"[:15]
        self._net = f"10.231.{os.getpid() % 254}"
        self._nodes: list[NamespaceNode] = []
        self._head: RayStart | None = None
        self.address = f"{self._net}.1:6379"

    def open(self) -> None:
        """Make the bridge, and start the head on it."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self._net}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        options = ["--head", "--port=6379", f"--node-ip-address={self._net}.1", "--num-cpus=0"]
        options += ["--include-dashboard=false", f"--temp-dir={self._folder}/ray"]
        self._head = self._start("head", [], [*options, "--min-worker-port=0", "--max-worker-port=0"])

    def add(self, *, covered: Mapping[Path, Path] | None = None) -> NamespaceNode:
        """Start a node.

        Args:
            covered: Folder → folder that the node sees in its place, as one that has not mounted what others have.
        """
        number = len(self._nodes) + 2
        name, host = f"{self._bridge}-{number}", f"{self._bridge[3:]}v{number}"
        address = f"{self._net}.{number}"
        _ip("netns", "add", name)
        node = NamespaceNode(name, address)
        self._nodes.append(node)
        _ip("link", "add", host, "type", "veth", "peer", "name", _CABLE, "netns", name)
        _ip("link", "set", host, "master", self._bridge, "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", _CABLE)
        _ip("-n", name, "link", "set", _CABLE, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "route", "add", "default", "via", f"{self._net}.1")  # Ray asks the route for its own address
        # ``ip netns exec`` has mounts of its own, so that nobody else sees these.
        mounts = " && ".join(f"mount --bind '{own}' '{place}'" for place, own in (covered or {}).items())
        within = ["ip", "netns", "exec", name, "sh", "-c", f'{mounts or "true"} && exec "$@"', "_"]
        options = [f"--address={self.address}", f"--node-ip-address={address}", "--num-cpus=1"]
        node.start = self._start(name, within, options)
        return node

    def lose(self, node: Node) -> None:
        """``kill -9`` of all that runs in the namespace; its address is never given again."""
        assert isinstance(node, NamespaceNode)
        for process in node.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if node.start is not None:
            node.start.process.wait()

    def unplug(self, node: NamespaceNode) -> None:
        """Nobody reaches the node any more, which goes on."""
        _ip("-n", node.name, "link", "set", _CABLE, "down")

    def close(self) -> None:
        """End all nodes, and remove what was made."""
        for node in self._nodes:
            self.lose(node)
            with suppress(DrillError):
                _ip("netns", "del", node.name)
        if self._head is not None:
            self._head.end()
        with suppress(DrillError):
            _ip("link", "del", self._bridge)

    def _start(self, name: str, within: Sequence[str], options: Sequence[str]) -> RayStart:
        # Gloo asks the name of the machine for its address, and that is the same in all namespaces.
        environment = {**self._environment, "GLOO_SOCKET_IFNAME": _CABLE}
        return RayStart(options, environment, self._folder / f"{name}.log", within)


@contextmanager
def namespace_nodes(environment: Mapping[str, str]) -> Iterator[Nodes]:
    """A cluster whose nodes have network namespaces of their own; :func:`why_not` tells whether that works."""
    with namespaces(environment) as nodes:
        yield nodes


@contextmanager
def namespaces(environment: Mapping[str, str]) -> Iterator[NamespaceNodes]:
    """The same, with what only such nodes can."""
    if (reason := why_not()) is not None:
        raise SkippedError(reason)
    folder = Path(environment["RAY_TMPDIR"])
    nodes = NamespaceNodes(environment, folder)
    try:
        nodes.open()
        yield nodes
    finally:
        nodes.close()


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise DrillError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
