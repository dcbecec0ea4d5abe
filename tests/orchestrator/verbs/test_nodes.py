"""Chains on several Ray nodes of this machine: spread over them, after lost nodes, and without shared storage.

One lost node is among the faults of ``test_faults.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.drill.content import differences, read_content
from tests.drill.faults.fault import Fault
from tests.drill.faults.registry import FAULTS
from tests.drill.nodes.autoscaled import autoscaled_cluster
from tests.drill.nodes.namespaces import namespaces, why_not
from tests.drill.outcome import Outcome, examine
from tests.drill.site import TASKS, Site
from tests.drill.trial import WORKERS, Trial, fresh_trial
from tests.drill.undisturbed import Undisturbed
from tests.orchestrator._server import free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.drill]

with_addresses = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

NODES = {"nodes": 3, "addresses": 2}
"""Fault → nodes of its cluster, beside the head."""


@pytest.fixture(scope="module", params=["nodes", pytest.param("addresses", marks=with_addresses)])
def lost(
    request: pytest.FixtureRequest, drill_site: Site, undisturbed_drill: Undisturbed
) -> tuple[str, Fault, Outcome]:
    """A chain that lost one node in each stage."""
    name: str = request.param
    fault = FAULTS[name]
    # Slow enough for a node to join before the next stage is far.
    slow = replace(drill_site, size=replace(drill_site.size, pace=0.05))
    with fresh_trial(slow, name) as trial:
        at = fault.make(trial, undisturbed_drill.content.keys)
        return name, fault, examine(trial, fault, at, undisturbed_drill)


def test_a_lost_node_in_each_stage_changes_no_bit(lost: tuple[str, Fault, Outcome]) -> None:
    _, _, outcome = lost
    assert outcome.problems == ()
    assert outcome.equal
    assert outcome.once
    assert outcome.trained_twice == 0


def test_each_stage_was_spread_over_nodes(lost: tuple[str, Fault, Outcome]) -> None:
    name, _, outcome = lost
    for stage, _ in enumerate(TASKS, 1):
        assert f"stage {stage}: workers on 2 of {NODES[name]} nodes" in outcome.notes


def test_each_loss_took_a_worker(lost: tuple[str, Fault, Outcome]) -> None:
    _, _, outcome = lost
    taken = [note for note in outcome.notes if note.endswith(("had the first worker", "had the second worker"))]
    assert len(taken) == len(TASKS)


@with_addresses
def test_nodes_without_shared_storage_are_refused(drill_site: Site) -> None:
    """One node has another disk mounted in place of the storage, one lacks the data."""
    with fresh_trial(drill_site, "apart") as trial, namespaces(drill_site.environment) as cluster:
        own = _folder(trial.folder / "own")
        cluster.add()
        apart = cluster.add(mounts={_folder(trial.storage): own})
        said = _refused(trial, cluster.address)
        assert f"{apart.address} (1 CPUs): {trial.storage} is not the folder that the driver writes to" in said
        assert said.count("(1 CPUs):") == 1
        cluster.lose(apart)
        without = cluster.add(mounts={drill_site.folder / "data": own})
        said = _refused(trial, cluster.address)
        assert f"{without.address} (1 CPUs): the data are not at {drill_site.folder / 'data'}" in said


def test_an_autoscaler_starts_the_nodes(drill_site: Site, undisturbed_drill: Undisturbed) -> None:
    """A cluster without a CPU is not too small when it may grow."""
    with (
        fresh_trial(drill_site, "growing") as trial,
        autoscaled_cluster(drill_site.environment, free_port(), WORKERS) as address,
    ):
        trial.start("--address", address)
        trial.finish()
        assert trial.problems == []
        assert differences(read_content(trial), undisturbed_drill.content) == []


def _refused(trial: Trial, address: str) -> str:
    """Return what the command prints when it refuses to train."""
    command = trial.start("--address", address)
    assert command.process.wait(240) == 2, command.said
    assert list(trial.storage.glob("stages/*")) == []
    return command.said


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
