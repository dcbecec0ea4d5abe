"""A Ray cluster on this machine, as an administrator starts one: with a token, and on ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.drill.family import psutil
from tests.drill.site import ROOT

from .._server import free_port

_PATIENCE = 240.0


@dataclass(frozen=True)
class LocalCluster:
    """A running cluster.

    Attributes:
        address: Its dashboard.
        token: What it wants of clients.
        environment: Environment variables of a client that has the token.
        logs: Folder with everything that its processes log.
    """

    address: str
    token: str
    environment: Mapping[str, str]
    logs: Path


def _free_ports(number: int) -> list[int]:
    """Free ports outside the range that Ray gives to its workers."""
    found: list[int] = []
    while len(found) < number:
        port = free_port()
        if not 10_000 <= port <= 20_000 and port not in found:
            found.append(port)
    return found


@contextmanager
def local_cluster() -> Iterator[LocalCluster]:
    """Start a cluster of two CPUs; it is ended by the ids of its processes."""
    folder = Path(tempfile.mkdtemp(prefix="nmt-job-", dir="/tmp"))
    token = secrets.token_hex(32)
    (folder / "token").write_text(token)
    (folder / "token").chmod(0o600)
    dashboard, agent, client = _free_ports(3)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {
        **inherited,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PATH": f"{Path(_ray()).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [_ray(), "start", "--head", "--block", "--port=0", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--temp-dir={folder}/ray"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    family: dict[int, Any] = {}
    try:
        _wait_until_up(process, f"http://127.0.0.1:{dashboard}", token, folder)
        clients = {**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        yield LocalCluster(f"http://127.0.0.1:{dashboard}", token, clients, folder / "ray")
    finally:
        with suppress(psutil.NoSuchProcess):
            family = {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for ended in (process, *family.values()):
            with suppress(psutil.NoSuchProcess):
                ended.kill()
        process.wait()
        psutil.wait_procs(list(family.values()), timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _ray() -> str:
    return str(Path(sys.executable).with_name("ray"))


def _wait_until_up(process: subprocess.Popen[bytes], address: str, token: str, folder: Path) -> None:
    """Wait until a node is there and the autoscaler has said that it starts none."""
    request = urllib.request.Request(f"{address}/api/cluster_status", headers={"Authorization": f"Bearer {token}"})
    waited = 0.0
    while True:
        with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(request, timeout=10) as answer:
            if b'nodeTypeMapping": {' in answer.read():
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        waited += 0.5
        assert process.returncode is None, (folder / "start.log").read_text()
        assert waited < _PATIENCE, (folder / "start.log").read_text()
