"""Nodes with addresses of their own, each in a Linux network namespace, on one bridge.

The head, which has no worker, and the commands run in the machine's own namespace.
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
"""Name of a node's network device in its namespace."""


def why_not() -> str | None:
    """Return why this machine cannot run such nodes; ``None`` if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if shutil.which("ip") is None:
        return "the command ip is missing; install iproute2"
    name = f"nmt-try-{os.getpid()}"
    tried = subprocess.run(["ip", "link", "add", name[:15], "type", "bridge"], capture_output=True, text=True)
    if tried.returncode:
        return f"cannot create a bridge: {tried.stderr.strip()}"
    _ip("link", "del", name[:15])
    return None


@dataclass
class NamespaceNode:
    """A node in a namespace of its own.

    Attributes:
        name: Name of the namespace.
        address: Address on the bridge.
        start: The command that runs it.
    """

    name: str
    address: str
    start: RayStart | None = None

    def processes(self) -> list[Any]:
        """Return all processes in the namespace."""
        found = []
        for pid in _ip("netns", "pids", self.name).split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found


class NamespaceNodes:
    """A cluster on a bridge of this machine.

    Args:
        environment: Environment variables of all nodes.
        folder: Folder of their logs and of Ray's sockets, so its path must be short.
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
        """Create the bridge, and start the head on it."""
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self._net}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        options = ["--head", "--port=6379", f"--node-ip-address={self._net}.1", "--num-cpus=0"]
        options += ["--include-dashboard=false", f"--temp-dir={self._folder}/ray"]
        self._head = self._start("head", [], [*options, "--min-worker-port=0", "--max-worker-port=0"])

    def add(self, *, mounts: Mapping[Path, Path] | None = None) -> NamespaceNode:
        """Start a node.

        Args:
            mounts: Folder → folder that the node sees in its place, as a node without the shared storage would.
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
        _ip("-n", name, "route", "add", "default", "via", f"{self._net}.1")  # Ray finds its own address by the route
        # ``ip netns exec`` has its own mount namespace, so these mounts are private to the node.
        commands = " && ".join(f"mount --bind '{own}' '{folder}'" for folder, own in (mounts or {}).items())
        within = ["ip", "netns", "exec", name, "sh", "-c", f'{commands or "true"} && exec "$@"', "_"]
        options = [f"--address={self.address}", f"--node-ip-address={address}", "--num-cpus=1"]
        node.start = self._start(name, within, options)
        return node

    def lose(self, node: Node) -> None:
        """``kill -9`` all processes in the namespace; its address is not used again."""
        assert isinstance(node, NamespaceNode)
        for process in node.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if node.start is not None:
            node.start.process.wait()

    def unplug(self, node: NamespaceNode) -> None:
        """Cut the node off the network; its processes keep running."""
        _ip("-n", node.name, "link", "set", _CABLE, "down")

    def close(self) -> None:
        """End all nodes, and remove the namespaces and the bridge."""
        for node in self._nodes:
            self.lose(node)
            with suppress(DrillError):
                _ip("netns", "del", node.name)
        if self._head is not None:
            self._head.end()
        with suppress(DrillError):
            _ip("link", "del", self._bridge)

    def _start(self, name: str, within: Sequence[str], options: Sequence[str]) -> RayStart:
        # Gloo takes the address of the host name, which is the same in all namespaces.
        environment = {**self._environment, "GLOO_SOCKET_IFNAME": _CABLE}
        return RayStart(options, environment, self._folder / f"{name}.log", within)


@contextmanager
def namespace_nodes(environment: Mapping[str, str]) -> Iterator[Nodes]:
    """Start a cluster of nodes in network namespaces, as a :data:`~tests.drill.nodes.nodes.StartNodes`."""
    with namespaces(environment) as nodes:
        yield nodes


@contextmanager
def namespaces(environment: Mapping[str, str]) -> Iterator[NamespaceNodes]:
    """Start a cluster of nodes in network namespaces, which can also be cut off the network.

    Raises:
        SkippedError: This machine cannot run such nodes.
    """
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
