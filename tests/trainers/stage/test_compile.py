"""Compiled training steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch._dynamo.utils import counters

from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper

LEVELS = [[binary("first")], [binary("second")]]


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # of its own code
def test_compiled_steps_take_the_same_trajectory(tmp_path: Path) -> None:
    """One program a stage, whatever the size of a batch: the last one of an epoch is smaller."""
    data = conflict(tmp_path / "conflict")
    found = []
    for compiling in (False, True):
        training = paper(compile=compiling, max_epochs=2, evaluations_per_epoch=1, patience=None)
        spec = chain_spec(data, LEVELS, training)
        feed, model = feed_and_model(spec, data)
        counters.clear()
        records = run_chain(spec, model, feed, StageStore(str(tmp_path / str(compiling))), Recorder())
        assert counters["stats"]["unique_graphs"] == (len(records) if compiling else 0)
        found.append([row.losses for record in records for row in record.rows])
    for plain, fast in zip(*found, strict=True):
        assert fast == pytest.approx(plain, abs=1e-6)


def test_methods_with_a_gradient_for_each_task_are_refused(tmp_path: Path) -> None:
    data = conflict(tmp_path / "conflict")
    with pytest.raises(ValueError, match=r"method 'nmt\+torchjd:PCGrad' needs one for each task; leave exec"):
        chain_spec(data, LEVELS, paper(compile=True, method="nmt+torchjd:PCGrad")).check()
