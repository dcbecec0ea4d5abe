"""A stage that is cut off goes on from its last checkpoint and ends with the same numbers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import CheckpointFailed, Evaluated, Progress, StageStarted
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.checkpoint_store import MAX_CHECKPOINTS, CheckpointStore
from nmt.trainers.store.stage_store import StageStore
from nmt.trainers.store.storage import Storage
from tests.trainers._asserts import assert_identical, assert_same_result
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper
from tests.trainers._workers import Workers

FIRST, SECOND, THIRD = binary("first"), binary("second"), binary("third")
EVERY = 5
PER_STAGE = 24

JOINT: dict[str, Any] = {
    "joint_weight": 0.65,
    "later_weight": 0.3,
    "violations": "held_out",
    "measure_every": 3,
    "relative": True,
}

CASES: dict[str, dict[str, Any]] = {
    "nmt": {},
    "held out": {"violations": "held_out", "measure_every": 3, "relative": True, "eta_lambda": 5.0},
    "backtracks": {"patience": 2, "backtracks": 2, "max_epochs": 8},
    "rows apart": {"record_every": 4, "retreats": 0},
    "clipped sgd": {"optimizer": "sgd", "eta_theta": 0.3, "clip_norm": 0.5},
    "famo": {"method": "nmt+famo"},
    "joint": JOINT,
    "joint famo": {**JOINT, "method": "nmt+famo"},
    "pcgrad": {"method": "nmt+torchjd:PCGrad"},
}
MODELS = {"nmt": ("TwoTowers", "Noisy", "Normalised")}


class CutError(Exception):
    """Stands for kill -9: nothing after it is done by the program."""


class CutFeed(MemoryFeed):
    """A feed that ends the program at one training step of one stage."""

    cut_stage = cut_step = -1

    def epoch(
        self, stage: int, epoch: int, split: str = "train", start: int = 0, share: float = 1.0
    ) -> Iterator[Batch]:
        first = epoch * self.steps_per_epoch() + start
        for number, batch in enumerate(super().epoch(stage, epoch, split, start, share)):
            if split == "train" and stage == self.cut_stage and first + number == self.cut_step:
                raise CutError
            yield batch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("checkpoints") / "conflict")


def spec_of(data: Path, case: str = "nmt", model: str = "TwoTowers") -> ChainSpec:
    short = {"eta_theta": 0.03, "eta_lambda": 1.0, "max_epochs": 4, "evaluations_per_epoch": 2, "patience": 100}
    training = paper(**{**short, "checkpoint_every": EVERY, **CASES[case]})
    return chain_spec(data, [[FIRST], [SECOND], [THIRD]], training, model=f"tests.trainers._problems:{model}")


def run(
    spec: ChainSpec,
    data: Path,
    storage: Path,
    recorder: Recorder | None = None,
    rank: int = 0,
    workers: int = 1,
    cut: tuple[int, int] | None = None,
) -> tuple[tuple[StageRecord, ...], dict[str, torch.Tensor]]:
    feed, model = feed_and_model(spec, data, rank, workers)
    if cut is not None:
        feed.__class__ = CutFeed
        assert isinstance(feed, CutFeed)
        feed.cut_stage, feed.cut_step = cut
    store = StageStore(str(storage))
    records = run_chain(spec, model, feed, store, recorder or Recorder(), CheckpointStore(str(storage)))
    return records, dict(model.state_dict())


def steps_kept(storage: Path, key: str) -> list[int]:
    return [int(path.stem[5:]) for path in sorted((storage / "checkpoints" / key).glob("*.json"))]


@pytest.mark.parametrize("cut", [(0, 7), (2, 11), (2, 21)], ids=str)
@pytest.mark.parametrize(("case", "model"), [(c, m) for c in CASES for m in MODELS.get(c, ("TwoTowers",))])
def test_a_stage_that_was_cut_off(data: Path, tmp_path: Path, case: str, model: str, cut: tuple[int, int]) -> None:
    spec = spec_of(data, case, model)
    expected, state = run(spec, data, tmp_path / "undisturbed")
    with pytest.raises(CutError):
        run(spec, data, tmp_path / "cut", cut=cut)
    recorder = Recorder()
    records, same = run(spec, data, tmp_path / "cut", recorder)
    started = [event for event in recorder.events if isinstance(event, StageStarted)]
    # The batch that is never given belongs to the step after the next one: its counts are looked up ahead.
    assert (started[0].stage, started[0].resumed_step) == (cut[0], (cut[1] - 1) // EVERY * EVERY)
    for one, other in zip(expected, records, strict=True):
        assert_same_result(one, other)
    assert_identical(same, state)


def test_everything_is_reported_again(data: Path, tmp_path: Path) -> None:
    """Events of the process that died may not have arrived."""
    spec = spec_of(data)
    with pytest.raises(CutError):
        run(spec, data, tmp_path, cut=(1, 13))
    recorder = Recorder()
    records, _ = run(spec, data, tmp_path, recorder)
    rows = [row for event in recorder.events if isinstance(event, Progress) and event.stage == 1 for row in event.rows]
    assert tuple(rows) == records[1].rows
    candidates = [e.candidate for e in recorder.events if isinstance(e, Evaluated) and e.stage == 1]
    assert tuple(candidates) == records[1].candidates


def test_the_last_ones_are_kept_and_none_after_the_end(data: Path, tmp_path: Path) -> None:
    spec = spec_of(data)
    with pytest.raises(CutError):
        run(spec, data, tmp_path, cut=(1, 18))
    key = spec.stage_keys()[1]
    assert steps_kept(tmp_path, key) == [10, 15]
    assert len(list((tmp_path / "checkpoints" / key).iterdir())) == 2 * MAX_CHECKPOINTS
    run(spec, data, tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_no_checkpoints_when_they_are_turned_off(data: Path, tmp_path: Path) -> None:
    spec = chain_spec(data, [[FIRST]], paper(max_epochs=1, checkpoint_every=0))
    with pytest.raises(CutError):
        run(spec, data, tmp_path, cut=(0, 5))
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("damage", ["content", "manifest", "missing", "another format"])
def test_a_damaged_checkpoint_is_passed_over(data: Path, tmp_path: Path, damage: str) -> None:
    spec = spec_of(data)
    expected, state = run(spec, data, tmp_path / "undisturbed")
    with pytest.raises(CutError):
        run(spec, data, tmp_path, cut=(0, 13))
    folder = tmp_path / "checkpoints" / spec.stage_keys()[0]
    last = folder / "step-00000010"
    if damage == "content":
        content = bytearray(last.with_suffix(".pt").read_bytes())
        content[len(content) // 2] ^= 1
        last.with_suffix(".pt").write_bytes(content)
    elif damage == "manifest":
        last.with_suffix(".json").write_text(last.with_suffix(".json").read_text()[:20])
    elif damage == "missing":
        last.with_suffix(".pt").unlink()
    else:
        last.with_suffix(".json").write_text(
            last.with_suffix(".json").read_text().replace('"format": 1', '"format": 0')
        )
    recorder = Recorder()
    records, same = run(spec, data, tmp_path, recorder)
    assert next(e.resumed_step for e in recorder.events if isinstance(e, StageStarted)) == 5
    for one, other in zip(expected, records, strict=True):
        assert_same_result(one, other)
    assert_identical(same, state)


@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_a_checkpoint_that_cannot_be_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """A full disk costs the checkpoint and nothing else."""
    spec = spec_of(data)
    expected, state = run(spec, data, tmp_path / "undisturbed")
    write = Storage.write

    def full(self: Storage, path: str, content: bytes) -> None:
        if path.endswith(f"step-{2 * EVERY:08d}{suffix}"):
            raise OSError(28, "No space left on device")
        write(self, path, content)

    monkeypatch.setattr(Storage, "write", full)
    recorder = Recorder()
    records, same = run(spec, data, tmp_path, recorder)
    failed = [event for event in recorder.events if isinstance(event, CheckpointFailed)]
    assert [(event.stage, event.step) for event in failed] == [(stage, 2 * EVERY) for stage in range(3)]
    assert "No space left on device" in failed[0].reason
    for one, other in zip(expected, records, strict=True):
        assert_same_result(one, other)
    assert_identical(same, state)


def test_no_code_is_unpickled(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    store.write("key", 1, {"step": 1})
    path = tmp_path / "checkpoints" / "key" / "step-00000001"
    torch.save({"step": pickle.Pickler}, path.with_suffix(".pt"))
    assert store.latest("key") is None  # its hash is not the promised one
    store.write("key", 2, {"step": pickle.Pickler})
    with pytest.raises(pickle.UnpicklingError):
        store.read("key", 2)


@pytest.mark.parametrize("root", ["path", "object store"])
def test_store(tmp_path: Path, root: str) -> None:
    store = CheckpointStore(str(tmp_path) if root == "path" else "mock:///bucket")
    assert store.latest("key") is None
    for step in (3, 6, 9):
        store.write("key", step, {"step": step, "tensor": torch.arange(step)})
    assert store.latest("key") == 9
    assert torch.equal(store.read("key", 6)["tensor"], torch.arange(6))
    with pytest.raises(OSError, match="checkpoint 3 of stage key is missing or damaged"):
        store.read("key", 3)
    store.clear("key")
    assert store.latest("key") is None


def cut_and_resume(
    rank: int, workers: int, data: str, storage: str, cut: bool, case: str = "nmt", stage: int = 1
) -> dict[str, Any]:
    spec = spec_of(Path(data), case)
    recorder = Recorder()
    try:
        records, state = run(spec, Path(data), Path(storage), recorder, rank, workers, (stage, 13) if cut else None)
    except CutError:
        return {"cut": True}
    started = [event.resumed_step for event in recorder.events if isinstance(event, StageStarted)]
    return {"records": [record.to_json() for record in records], "state": dict(state), "resumed": started}


@pytest.mark.parametrize(("before", "after"), [(2, 2), (3, 3), (2, 1), (1, 3)])
def test_with_workers(data: Path, tmp_path: Path, workers: Workers, before: int, after: int) -> None:
    """The same number of workers ends bit for bit alike; another one within rounding, with λ alike."""

    def on(count: int, storage: Path, cut: bool) -> list[dict[str, Any]]:
        if count == 1:
            return [cut_and_resume(0, 1, str(data), str(storage), cut)]
        return workers.run(count, cut_and_resume, str(data), str(storage), cut)

    expected = on(before, tmp_path / "undisturbed", False)[0]
    assert on(before, tmp_path / "cut", True) == [{"cut": True}] * before
    found = on(after, tmp_path / "cut", False)
    assert found[0]["resumed"] == [10, 0]
    for one, other in zip(expected["records"], found[0]["records"], strict=True):
        a, b = StageRecord.from_json(one), StageRecord.from_json(other)
        if before == after:
            assert_same_result(a, b)
        else:
            assert b.multipliers == pytest.approx(a.multipliers, abs=1e-4)
            assert b.optima[0].valid == pytest.approx(a.optima[0].valid, abs=1e-4)
    if before == after:
        assert_identical(found[0]["state"], expected["state"])


def test_workers_that_are_cut_off_in_stage_0(data: Path, tmp_path: Path, workers: Workers) -> None:
    """Later stages start from its θ: they too end bit for bit alike."""
    assert [spec_of(data, "joint").stages[0].number, spec_of(data, "joint").stages[0].is_joint] == [0, True]

    def on_two(storage: str, cut: bool) -> list[dict[str, Any]]:
        return workers.run(2, cut_and_resume, str(data), str(tmp_path / storage), cut, "joint", 0)

    expected = on_two("undisturbed", False)[0]
    assert on_two("cut", True) == [{"cut": True}] * 2
    found = on_two("cut", False)
    assert found[0]["resumed"] == [10, 0, 0, 0]
    for one, other in zip(expected["records"], found[0]["records"], strict=True):
        assert_same_result(StageRecord.from_json(one), StageRecord.from_json(other))
    for worker in found:
        assert_identical(worker["state"], expected["state"])
