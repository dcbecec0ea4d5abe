"""Failures to start or join Ray."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from nmt.orchestrator.cluster.ray_cluster import cluster
from nmt.orchestrator.errors import RunError


def failing(*_: Any, **__: Any) -> None:
    raise Exception("The current node timed out during startup.")  # as ray._private.node does


def test_a_start_that_times_out_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", failing)
    with (
        pytest.raises(RunError, match=r"cannot be started .* timed out during startup\.\nIt .* run the same command"),
        cluster(None, verbose=False),
    ):
        pass


def test_an_address_where_nothing_listens() -> None:
    with (
        pytest.raises(RunError, match=r"cluster at 127\.0\.0\.1:1 cannot be reached"),
        cluster("127.0.0.1:1", False),
    ):
        pass
