"""What a finished stage keeps of its examples: of its level all splits; the last one of a run, held-out ones of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.trainers.evaluation.paired import PairedDifference
from nmt.trainers.losses.samples import Samples
from nmt.trainers.records import StageRecord
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper


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
                assert set(content[split]) == {*record.level, *(record.protected if stage == 2 else ())}
                assert {len(tensor) for tensor in content[split].values()} == {{"valid": 120, "test": 90}[split]}


def test_they_are_of_the_accepted_parameters(kept: tuple[StageStore, tuple[StageRecord, ...]]) -> None:
    """The paired difference of two stages' samples is the verdict that the second one was accepted with."""
    store, records = kept
    compared = 0
    for record in records:
        references = store.references(record.key)
        for split in ("valid", "test"):
            for task in references.sums[split]:
                mean = float(references.sums[split][task].sum() / references.counts[split][task].sum())
                assert mean == pytest.approx(record.losses[split][task], rel=1e-5)
        for earlier in records[:-1] if record is records[-1] else ():
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


def test_a_stage_on_the_way_is_completed_when_a_run_ends_with_it(tmp_path: Path) -> None:
    """With the very numbers of a run that ended there in the first place."""
    data = conflict(tmp_path / "conflict")
    levels = [[binary("first")], [binary("second")], [binary("third")]]
    spec = chain_spec(data, levels, paper(max_epochs=1, evaluations_per_epoch=2, patience=None, eta_theta=0.05))
    found = []
    for folder, runs in (("long", (None, 2)), ("short", (2,))):
        store = StageStore(str(tmp_path / folder))
        for stages in runs:
            feed, model = feed_and_model(spec, data)
            records = run_chain(spec, model, feed, store, Recorder(), stages=stages)
            if stages is None:
                assert set(store.references(records[1].key).sums["valid"]) == {"second"}
        assert len(records) == 2
        found.append(store.references(records[1].key))
    long, short = found
    for split in ("train", "valid", "test"):
        assert set(long.sums[split]) == {"second", *(("first", "third") if split != "train" else ())}
        for one, other in ((long.sums, short.sums), (long.counts, short.counts)):
            assert_identical(one[split], {name: other[split][name] for name in one[split]})
