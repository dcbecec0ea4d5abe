"""Ray's own job client: opened with a token if there is one, its failures told in words."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from orchestrator.cluster.nodes import Node, may_grow_by
from orchestrator.errors import RequestError, RunError

_Answer = TypeVar("_Answer")

_DASHBOARD_PORTS = {"http": 80, "https": 443, "ray": 10001}


class JobClient(Protocol):
    """What is used of ``ray.job_submission.JobSubmissionClient``."""

    def submit_job(
        self,
        *,
        entrypoint: str,
        submission_id: str | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> str:
        """Send a job; returns its id."""
        ...

    def get_job_info(self, job_id: str) -> Any:
        """Status and details of a job."""
        ...

    def list_jobs(self) -> Sequence[Any]:
        """All jobs of the cluster."""
        ...

    def stop_job(self, job_id: str) -> bool:
        """Ask a job to end."""
        ...

    def get_job_logs(self, job_id: str) -> str:
        """The log so far."""
        ...

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """The log from its beginning, as it is written."""
        ...


class NoSuchJobError(RequestError):
    """The cluster knows no job of this id."""


def dashboard_address(address: str | None) -> str:
    """The cluster that a command means: the given address, else that of Ray's environment variables.

    Raises:
        RequestError: There is none.
    """
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if not found:
        raise RequestError(
            "which cluster? give --address http://HOST:8265, the address of its dashboard, or set RAY_ADDRESS"
        )
    return found if "://" in found or found == "auto" else f"http://{found}"


def connect(address: str) -> JobClient:
    """Open Ray's job client.

    Args:
        address: The dashboard's address, ``http://HOST:8265``, or one that Ray finds it by.

    Raises:
        RequestError: The cluster wants a token, and there is none or a wrong one.
        RunError: Nobody answers there.
    """
    use_token()
    _knock(address)
    # Ray takes this variable before RAY_ADDRESS, and both before an address that it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    from ray.job_submission import JobSubmissionClient

    for name in ("sdk", "dashboard_sdk"):  # they say on standard error what they do
        logging.getLogger(f"ray.dashboard.modules.job.{name}").setLevel(logging.ERROR)
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.ERROR)
    client: JobClient = ask(lambda: JobSubmissionClient(address), address)
    return client


def use_token() -> None:
    """Have Ray's job client send the token that is there; it does so only when told, whatever the cluster wants."""
    file = os.environ.get("RAY_AUTH_TOKEN_PATH")
    places = (Path(file) if file else Path.home() / ".ray" / "auth_token",)
    if os.environ.get("RAY_AUTH_TOKEN") or any(place.is_file() for place in places):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def ask(request: Callable[[], _Answer], address: str) -> _Answer:
    """Send a request to the job server.

    Raises:
        NoSuchJobError: It knows no such job.
        RequestError: It wants a token, and there is none or a wrong one.
        RunError: It cannot be reached, or refuses for another reason.
    """
    try:
        return request()
    except Exception as error:
        raise translate_error(error, address) from error


def translate_error(error: Exception, address: str) -> Exception:
    """The error that tells what a request failed of."""
    text = str(error)
    if type(error).__name__ == "AuthenticationError":
        return RequestError(
            f"the cluster at {address} wants a token, and there is none here or another one: set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to the file that holds it"
        )
    if "status code 404" in text:
        return NoSuchJobError(f"{_last_line(text)} (on {address}); nmt submit status lists the jobs that there are")
    if "status code 413" in text:
        return RequestError(f"the cluster at {address} takes no package of this size: {_last_line(text)}")
    if isinstance(error, RequestError | RunError):
        return error
    if isinstance(error, OSError | RuntimeError | ValueError):
        return RunError(f"the job server at {address}: {_last_line(text)}")
    return error


def cluster_nodes(client: JobClient, address: str) -> list[Node]:
    """Nodes of the cluster that are alive.

    Raises:
        RunError: The cluster does not tell.
    """
    from ray.util.state import list_nodes

    where = urlsplit(getattr(client, "get_address", lambda: address)())
    found = ask(lambda: list_nodes(address=f"{where.scheme}://{where.netloc}", detail=True, limit=10_000), address)
    return [
        Node(node.node_id, node.node_ip, dict(node.resources_total or {})) for node in found if node.state == "ALIVE"
    ]


def may_grow(client: JobClient, address: str) -> bool:
    """Whether the cluster may start further nodes.

    Raises:
        RunError: The cluster does not tell.
    """
    return may_grow_by(lambda: _status(client, address))


def _status(client: JobClient, address: str) -> Mapping[str, Any]:
    """What the autoscaler writes; there is no public call for it."""
    send: Callable[[str, str], Any] | None = getattr(client, "_do_request", None)
    if send is None:
        return {}
    answer = ask(lambda: send("GET", "/api/cluster_status"), address)
    content: Mapping[str, Any] = answer.json() if answer.status_code == 200 else {}
    return (content.get("data") or {}).get("clusterStatus") or {}


def is_this_machine(nodes: Sequence[Node]) -> bool:
    """Whether every node is this machine, whose files it then has."""
    import ray

    own = {"127.0.0.1", "::1", ray.util.get_node_ip_address()}
    return bool(nodes) and all(node.address in own for node in nodes)


def _knock(address: str) -> None:
    """See whether anybody listens; Ray's client waits for minutes where packets are dropped."""
    parts = urlsplit(address)
    if parts.scheme not in _DASHBOARD_PORTS or parts.hostname is None:
        return
    try:
        port = parts.port or _DASHBOARD_PORTS[parts.scheme]
        socket.create_connection((parts.hostname, port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise RunError(
            f"nobody answers at {address} ({error}); give the address of the cluster's dashboard, http://HOST:8265 "
            "unless it was started otherwise; for one on Kubernetes: kubectl port-forward service/NAME-head-svc 8265"
        ) from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    return lines[-1] if lines else "no reason given"
