"""What a finished stage keeps of its examples: of its level all splits, of protected tasks the held-out ones."""

from __future__ import annotations

import pytest

from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper
from trainers.chain import run_chain
from trainers.losses.samples import Samples
from trainers.paired import PairedDifference
from trainers.records import StageRecord
from trainers.stage_store import StageStore


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageStore, tuple[StageRecord, ...]]:
    folder = tmp_path_factory.mktemp("references")
    data = conflict(folder / "conflict")
    levels = [[binary("first")], [binary("second")], [binary("third")]]
    spec = chain_spec(data, levels, paper(max_epochs=2, evaluations_per_epoch=2, patience=None, eta_theta=0.05))
    feed, model = feed_and_model(spec, data)
    store = StageStore(str(folder / "runs"))
    return store, run_chain(spec, model, feed, store, Recorder())


def test_which_tasks_are_kept_of_which_split(kept: tuple[StageStore, tuple[StageRecord, ...]]) -> None:
    store, records = kept
    for stage, record in enumerate(records):
        references = store.references(record.key)
        for content in (references.sums, references.counts):
            assert set(content["train"]) == set(record.level)
            for split in ("valid", "test"):
                assert set(content[split]) == {"first", "second", "third"}.intersection(
                    (*record.protected, *record.level)
                )
                assert len(content[split]) == stage + 1
                assert {len(tensor) for tensor in content[split].values()} == {{"valid": 120, "test": 90}[split]}


def test_they_are_of_the_accepted_parameters(kept: tuple[StageStore, tuple[StageRecord, ...]]) -> None:
    """The paired difference of two stages' samples is the verdict that the second one was accepted with."""
    store, records = kept
    compared = 0
    for number, record in enumerate(records):
        references = store.references(record.key)
        for split in ("valid", "test"):
            for task in (*record.protected, *record.level):
                mean = float(references.sums[split][task].sum() / references.counts[split][task].sum())
                assert mean == pytest.approx(record.losses[split][task], rel=1e-5)
        for earlier in records[:number]:
            before = store.references(earlier.key)
            for task in earlier.level:
                for split in ("valid", "test"):
                    found = PairedDifference.between(
                        Samples(references.sums[split][task], references.counts[split][task]),
                        Samples(before.sums[split][task], before.counts[split][task]),
                    )
                    verdict = record.verdict(task, split)
                    assert verdict is not None
                    assert found.difference == pytest.approx(verdict.difference, rel=1e-9, abs=1e-12)
                    assert found.standard_error == pytest.approx(verdict.standard_error, rel=1e-9, abs=1e-12)
                    compared += found.difference != 0
    assert compared
