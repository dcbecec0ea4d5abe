from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nmt.trainers.faults import DamagedError
from nmt.trainers.records import StageRecord
from nmt.trainers.store.stage_store import StageStore, State, StoredReferences
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import record


def state(value: float = 1.0) -> State:
    return {
        "embedding.weight": torch.full((3, 2), value),
        "half": torch.full((2,), value, dtype=torch.bfloat16),
        "double": torch.tensor(value / 3, dtype=torch.float64),
        "batches": torch.tensor(int(value)),
    }


def references(value: float = 1.0) -> StoredReferences:
    sums = {split: {"second": torch.full((4,), value)} for split in ("valid", "test")}
    return StoredReferences(sums, {split: {"second": torch.ones(4)} for split in ("valid", "test")})


@pytest.fixture(params=["path", "uri", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StageStore:
    """Return a store on a local folder, or on a file system in memory."""
    return StageStore(
        {"path": str(tmp_path), "uri": f"file://{tmp_path}", "object store": "mock:///bucket"}[request.param]
    )


@pytest.fixture
def local(tmp_path: Path) -> StageStore:
    return StageStore(str(tmp_path))


def crash(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next write fail at file ``at``."""

    def fail(*_: object) -> str:
        raise OSError("no space left")

    if at == "record.json":
        monkeypatch.setattr(StageRecord, "to_json", fail)
    else:
        monkeypatch.setattr(torch, "save", fail)


def test_round_trip(store: StageStore) -> None:
    assert store.read("key") is None
    store.write(record(), state(), references())
    assert store.read("key") == record()
    assert_identical(store.state("key"), state())
    found = store.references("key")
    for split in ("valid", "test"):
        assert_identical(found.sums[split], references().sums[split])
        assert_identical(found.counts[split], references().counts[split])
    assert store.read("other") is None


def test_a_record_names_the_run_that_trained_it(tmp_path: Path) -> None:
    StageStore(str(tmp_path), "one").write(record(), state(), references())
    StageStore(str(tmp_path), "two").write(record(), state(2.0), references())
    found = StageStore(str(tmp_path)).read("key")
    assert found is not None
    assert found.trained_by == "one"
    assert replace(found, trained_by="") == record()


def test_another_store_on_the_same_folder_finds_the_stage(tmp_path: Path) -> None:
    StageStore(str(tmp_path)).write(record(), state(), references())
    assert StageStore(str(tmp_path)).read("key") == record()
    assert sorted(path.name for path in (tmp_path / "stages" / "key").iterdir()) == [
        "model.pt",
        "outputs.pt",
        "record.json",
        "references.pt",
    ]


@pytest.mark.parametrize("at", ["model.pt", "record.json"])
def test_a_crash_leaves_nothing_visible(store: StageStore, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    with monkeypatch.context() as patch:
        crash(at, patch)
        with pytest.raises(OSError, match="no space left"):
            store.write(record(), state(5.0), references(5.0))
    assert store.read("key") is None
    store.write(record(), state(), references())
    assert store.read("key") == record()
    assert_identical(store.state("key"), state())


@pytest.mark.parametrize("at", ["model.pt", "record.json"])
def test_a_failed_write_leaves_no_file(
    local: StageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    crash(at, monkeypatch)
    with pytest.raises(OSError, match="no space left"):
        local.write(record(), state(), references())
    assert list(tmp_path.rglob("*")) == []


def test_remnants_without_a_record_are_replaced(local: StageStore, tmp_path: Path) -> None:
    remnant = tmp_path / "stages" / "key"
    remnant.mkdir(parents=True)
    (remnant / "model.pt").write_bytes(b"half of it")
    (remnant / "junk").write_bytes(b"")
    assert local.read("key") is None
    local.write(record(), state(), references())
    assert_identical(local.state("key"), state())
    assert not (remnant / "junk").exists()
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["key"]


def test_the_first_result_under_a_key_is_kept(store: StageStore) -> None:
    store.write(record(steps=6), state(1.0), references(1.0))
    store.write(record(steps=7), state(2.0), references(2.0))
    assert store.read("key") == record(steps=6)
    assert_identical(store.state("key"), state(1.0))
    assert_identical(store.references("key").sums["valid"], references(1.0).sums["valid"])


def test_a_dropped_result_leaves_no_file(local: StageStore, tmp_path: Path) -> None:
    local.write(record(), state(1.0), references())
    local.write(record(), state(2.0), references())
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["key"]


class Malicious:
    """Runs a command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("name", ["model.pt", "references.pt"])
def test_no_code_is_unpickled(local: StageStore, tmp_path: Path, name: str) -> None:
    local.write(record(), state(), references())
    torch.save({"weight": Malicious(f"touch {tmp_path}/executed")}, tmp_path / "stages" / "key" / name)
    with pytest.raises(DamagedError, match="delete its folder and run again"):
        _ = local.state("key") if name == "model.pt" else local.references("key")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("damage", ["cut off", "changed", "missing"])
@pytest.mark.parametrize("name", ["model.pt", "references.pt"])
def test_a_damaged_file_is_named(local: StageStore, tmp_path: Path, name: str, damage: str) -> None:
    local.write(record(), state(), references())
    path = tmp_path / "stages" / "key" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut off" else b"not a checkpoint" + content[16:])
    with pytest.raises(DamagedError, match=rf"stages/key/{name} is missing or damaged .*delete its folder"):
        _ = local.state("key") if name == "model.pt" else local.references("key")


def test_a_truncated_record_counts_as_missing(local: StageStore, tmp_path: Path) -> None:
    """The stage is trained again, and replaces the folder."""
    local.write(record(), state(), references())
    path = tmp_path / "stages" / "key" / "record.json"
    path.write_text(path.read_text()[:100])
    assert local.read("key") is None
    local.write(record(steps=9), state(2.0), references())
    assert local.read("key") == record(steps=9)
    assert_identical(local.state("key"), state(2.0))


def test_stored_parameters_have_no_gradient(local: StageStore) -> None:
    model = torch.nn.Linear(2, 1)
    local.write(record(), model.state_dict(), references())
    assert not local.state("key")["weight"].requires_grad
    assert_identical(local.state("key"), model.state_dict())


@pytest.mark.parametrize("storage", ["nmt-runs", "./nmt-runs", "nosuchscheme://bucket"])
def test_storage_that_pyarrow_cannot_open(storage: str) -> None:
    message = r"is neither an absolute path nor a URI that pyarrow can open .* give a folder"
    with pytest.raises(ValueError, match=message):
        StageStore(storage)
