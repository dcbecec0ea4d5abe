"""Nodes that do not see the same storage or data are named before anything trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from nmt.orchestrator.cluster import shared_storage
from nmt.orchestrator.cluster.nodes import Node
from nmt.orchestrator.cluster.shared_storage import check_shared, probe
from nmt.orchestrator.errors import RequestError

NODES = [Node("a", "10.0.0.1", {"CPU": 4.0}), Node("b", "10.0.0.2", {"CPU": 4.0}), Node("head", "10.0.0.3", {})]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "schema.json").touch()
    return tmp_path / "runs"


def simulate_nodes(monkeypatch: pytest.MonkeyPatch, places: dict[str, Path]) -> list[str]:
    """Give each node its own folder under the storage's path; returns the nodes that are probed."""
    asked: list[str] = []

    def ask(nodes: Sequence[Node], storage: str, name: str, data: str | None) -> list[tuple[Node, str | None]]:
        asked.extend(node.node_id for node in nodes)
        return [(node, probe(node.node_id, str(places.get(node.node_id, storage)), name, data)) for node in nodes]

    monkeypatch.setattr(shared_storage, "_probe_all", ask)
    monkeypatch.setattr(shared_storage, "present_nodes", lambda: NODES)
    return asked


def test_a_shared_folder_passes_and_nothing_is_left_in_it(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = simulate_nodes(monkeypatch, {})
    check_shared(str(storage), str(storage.parent / "data"))
    assert asked == ["a", "b"]
    assert list(storage.iterdir()) == []


def test_a_node_with_a_folder_of_its_own_is_named(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    simulate_nodes(monkeypatch, {"b": own})
    with pytest.raises(RequestError, match=r"10\.0\.0\.2 .*is not the folder that the driver writes to") as refusal:
        check_shared(str(storage), None)
    assert "10.0.0.1" not in str(refusal.value)
    assert list(storage.iterdir()) == []
    assert not own.exists()


def test_a_node_whose_files_the_driver_does_not_see_is_named(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_storage, "_probe_all", lambda nodes, *others: [(node, None) for node in nodes])
    monkeypatch.setattr(shared_storage, "present_nodes", lambda: NODES)
    with pytest.raises(RequestError, match=r"10\.0\.0\.1 .*: the driver does not see what it writes"):
        check_shared(str(storage), None)


def test_a_node_without_the_data_is_named(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_nodes(monkeypatch, {})
    with pytest.raises(RequestError, match=r"the data are not at .*/elsewhere"):
        check_shared(str(storage), str(storage.parent / "elsewhere"))
