"""A chain with every multi-task model: two workers give the trajectory of one; parameters wait for their stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.trainers.records import StageRecord
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper
from tests.trainers._workers import Workers

EXPERTS: dict[str, Any] = {"expert_units": [16, 8], "gate_units": [4], "tower_units": [8]}
MODELS: dict[str, dict[str, Any]] = {
    "shared_bottom": {"bottom_units": [8], "tower_units": [8]},
    "omoe": {"experts": 3, **EXPERTS},
    "mmoe": {"experts": 3, **EXPERTS},
    "ple": {"layers": 2, "specific_experts": 2, **EXPERTS},
}
"""Model → options."""

OWN = {
    "shared_bottom": ("towers.",),
    "omoe": ("towers.",),
    "mmoe": ("towers.", "gates."),
    "ple": ("towers.", "layers.0.gates.", "layers.1.gates.", "layers.1.specific_experts."),
}
"""Model → name prefixes of parameters whose slices each belong to a single task."""

Found = dict[str, dict[str, Any]]
"""Model → results of a worker."""


def run_all(rank: int, workers: int, folder: str) -> Found:
    """Run three stages of one task each with every model."""
    found: Found = {}
    data = Path(folder) / "rows"
    training = paper(
        max_epochs=2, evaluations_per_epoch=1, eta_theta=0.01, eta_lambda=1.0, retreats=0, certificate_examples=0
    )
    levels = [[binary("first", 0.01)], [binary("second")], [binary("third")]]
    for name, options in MODELS.items():
        model_of_ours = "tests.trainers._models:in_double"
        spec = chain_spec(data, levels, training, model=model_of_ours, batch_size=30, name=name, **options)
        storage = StageStore(str(Path(folder) / f"{workers} workers" / name))
        feed, model = feed_and_model(spec, data, rank, workers)
        start = {key: value.clone() for key, value in model.state_dict().items()}
        records = run_chain(spec, model, feed, storage, Recorder())
        found[name] = {
            "records": [record.to_json() for record in records],
            "states": [start, *(dict(storage.state(record.key)) for record in records)],
            "state": dict(model.state_dict()),
        }
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    conflict(folder / "rows")
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Found:
    return run_all(0, 1, str(folder))


@pytest.fixture(scope="module")
def together(folder: Path, workers: Workers) -> list[Found]:
    return workers.run(2, run_all, str(folder))


def records_of(found: Found, name: str) -> list[StageRecord]:
    return [StageRecord.from_json(text) for text in found[name]["records"]]


@pytest.mark.parametrize("name", MODELS)
def test_workers_agree(together: list[Found], name: str) -> None:
    one, other = together
    assert len(one[name]["records"]) == 3
    assert one[name]["records"] == other[name]["records"]
    assert_identical(one[name]["state"], other[name]["state"])


@pytest.mark.parametrize("name", MODELS)
def test_trajectory_of_one_worker(alone: Found, together: list[Found], name: str) -> None:
    for one, two in zip(records_of(alone, name), records_of(together[0], name), strict=True):
        assert (one.workers, two.workers) == (1, 2)
        assert len(one.rows) == one.steps == two.steps == 12
        for a, b in zip(one.rows, two.rows, strict=True):
            assert b.losses == pytest.approx(a.losses, abs=1e-6, rel=0)
            assert b.multipliers == pytest.approx(a.multipliers, abs=1e-6, rel=0)
        assert [o.train for o in two.optima] == pytest.approx([o.train for o in one.optima], abs=1e-6, rel=0)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_of_a_single_task_change_only_from_its_stage_on(together: list[Found], name: str) -> None:
    """In batched parameters the slices of later tasks have a gradient of exactly 0, and Adam leaves them unchanged."""
    states: list[dict[str, Tensor]] = together[0][name]["states"]
    assert records_of(together[0], name)[0].gained
    for beginning in OWN[name]:
        own = [key for key in states[0] if key.startswith(beginning)]
        assert own
        for stage in range(3):
            for key in own:
                before, after = (states[i][key].chunk(3) for i in (stage, stage + 1))
                assert all(torch.equal(before[task], after[task]) for task in range(stage + 1, 3)), key
        assert not all(torch.equal(states[0][key].chunk(3)[0], states[1][key].chunk(3)[0]) for key in own)
