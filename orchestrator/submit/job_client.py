"""Ray's job client: connects with a token if there is one, and translates failures into our errors."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from nmt.orchestrator.cluster.connection import check_listening
from nmt.orchestrator.cluster.nodes import Node, may_grow_by
from nmt.orchestrator.errors import RequestError, RunError, last_line

_Answer = TypeVar("_Answer")

_DASHBOARD_PORTS = {"http": 80, "https": 443, "ray": 10001}


class JobClient(Protocol):
    """The part of ``ray.job_submission.JobSubmissionClient`` that is used here."""

    def submit_job(
        self,
        *,
        entrypoint: str,
        submission_id: str | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> str:
        """Submit a job; returns its id."""
        ...

    def get_job_info(self, job_id: str) -> Any:
        """Return status and details of a job."""
        ...

    def list_jobs(self) -> Sequence[Any]:
        """Return all jobs of the cluster."""
        ...

    def stop_job(self, job_id: str) -> bool:
        """Ask a job to stop."""
        ...

    def get_job_logs(self, job_id: str) -> str:
        """Return the log so far."""
        ...

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Yield the log from its beginning, as it is written."""
        ...


class NoSuchJobError(RequestError):
    """The cluster has no job with this id."""


def dashboard_address(address: str | None) -> str:
    """Return the address of the cluster's dashboard: the given one, else that of Ray's environment variables.

    Raises:
        RequestError: There is none.
    """
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if not found:
        raise RequestError(
            "no cluster is given: add --address http://HOST:8265, the address of its dashboard, or set RAY_ADDRESS"
        )
    return found if "://" in found or found == "auto" else f"http://{found}"


def connect(address: str) -> JobClient:
    """Open Ray's job client.

    Args:
        address: The dashboard's address, ``http://HOST:8265``, or another form that Ray resolves.

    Raises:
        RequestError: The cluster wants a token, and there is none or a wrong one.
        RunError: Nothing answers there.
    """
    use_token()
    _check_listening(address)
    # Ray prefers this variable to RAY_ADDRESS, and both to the address passed to the client.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    from ray.job_submission import JobSubmissionClient

    for name in ("sdk", "dashboard_sdk"):  # they log their progress to standard error
        logging.getLogger(f"ray.dashboard.modules.job.{name}").setLevel(logging.ERROR)
    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.ERROR)
    client: JobClient = ask(lambda: JobSubmissionClient(address), address)
    return client


def use_token() -> None:
    """Enable Ray's token authentication if a token is there; Ray's job client sends it only then."""
    file = os.environ.get("RAY_AUTH_TOKEN_PATH")
    places = (Path(file) if file else Path.home() / ".ray" / "auth_token",)
    if os.environ.get("RAY_AUTH_TOKEN") or any(place.is_file() for place in places):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def ask(request: Callable[[], _Answer], address: str) -> _Answer:
    """Send a request to the job server.

    Raises:
        NoSuchJobError: There is no such job.
        RequestError: The server wants a token, and there is none or a wrong one.
        RunError: The server cannot be reached, or refuses for another reason.
    """
    try:
        return request()
    except Exception as error:
        raise translate_error(error, address) from error


def translate_error(error: Exception, address: str) -> Exception:
    """Return our error for a failed request; an unknown one is returned as it is."""
    text = str(error)
    if type(error).__name__ == "AuthenticationError":
        return RequestError(
            f"the cluster at {address} wants a token, and this machine has none or a wrong one: set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to the file that holds it"
        )
    if "status code 404" in text:
        return NoSuchJobError(f"{last_line(error)} (on {address}); nmt submit status lists all jobs")
    if "status code 413" in text:
        return RequestError(f"the package is too large for the cluster at {address}: {last_line(error)}")
    if isinstance(error, RequestError | RunError):
        return error
    if isinstance(error, OSError | RuntimeError | ValueError):
        return RunError(f"the job server at {address}: {last_line(error)}")
    return error


def cluster_nodes(client: JobClient, address: str) -> list[Node]:
    """Return the nodes of the cluster that are alive.

    Raises:
        RunError: The cluster does not answer.
    """
    from ray.util.state import list_nodes

    where = urlsplit(getattr(client, "get_address", lambda: address)())
    found = ask(lambda: list_nodes(address=f"{where.scheme}://{where.netloc}", detail=True, limit=10_000), address)
    return [
        Node(node.node_id, node.node_ip, dict(node.resources_total or {})) for node in found if node.state == "ALIVE"
    ]


def may_grow(client: JobClient, address: str) -> bool:
    """Return whether the cluster may start further nodes.

    Raises:
        RunError: The cluster does not answer.
    """
    return may_grow_by(lambda: _autoscaler_status(client, address))


def _autoscaler_status(client: JobClient, address: str) -> Mapping[str, Any]:
    """Return the autoscaler's status, by a private method: Ray has no public call for it."""
    send: Callable[[str, str], Any] | None = getattr(client, "_do_request", None)
    if send is None:
        return {}
    answer = ask(lambda: send("GET", "/api/cluster_status"), address)
    content: Mapping[str, Any] = answer.json() if answer.status_code == 200 else {}
    return (content.get("data") or {}).get("clusterStatus") or {}


def is_this_machine(nodes: Sequence[Node]) -> bool:
    """Return whether every node is this machine, so that jobs see its files."""
    import ray

    own = {"127.0.0.1", "::1", ray.util.get_node_ip_address()}
    return bool(nodes) and all(node.address in own for node in nodes)


def _check_listening(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in _DASHBOARD_PORTS or parts.hostname is None:
        return
    try:
        port = parts.port or _DASHBOARD_PORTS[parts.scheme]
        check_listening(parts.hostname, port)
    except (OSError, ValueError) as error:
        raise RunError(
            f"nothing answers at {address} ({error}); give the address of the cluster's dashboard, by default "
            "http://HOST:8265; for one on Kubernetes: kubectl port-forward service/NAME-head-svc 8265"
        ) from error
