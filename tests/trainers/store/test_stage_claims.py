"""Claims on stages: file locks, claims on object stores, and two chains at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import nmt.trainers.stage.chain
from nmt.trainers.faults import NumericalError
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Event, StageAwaited, StageFinished, StageStarted
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store import stage_claims
from nmt.trainers.store.stage_claims import EXPIRY_SECONDS, Claim, StageClaims
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_same_result
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper

SHORT = {"max_epochs": 1, "evaluations_per_epoch": 1, "patience": None}


# --- with file locks --------------------------------------------------------------------------------------------------


def test_a_stage_is_claimed_once(tmp_path: Path) -> None:
    one, other = StageClaims(str(tmp_path)), StageClaims(str(tmp_path))
    claim = one.try_claim("key")
    assert claim is not None
    assert other.try_claim("key") is None
    assert one.try_claim("key") is None
    second = other.try_claim("another key")
    assert second is not None
    claim.release()
    again = other.try_claim("key")
    assert again is not None
    again.release()
    second.release()


# --- on an object store -----------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """A clock that stands still; a sleep runs the next action in ``during``."""

    now: float = 1000.0
    during: list[Callable[[], None]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.during:
            self.during.pop()()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stage_claims, "time", clock)
    return clock


def without_locks(folder: Path) -> StageClaims:
    """Return claims that behave as on an object store."""
    claims = StageClaims(str(folder))
    claims._locks = None
    claims._storage.local = False
    return claims


def test_a_written_claim_excludes_others_until_it_is_released(tmp_path: Path, clock: Clock) -> None:
    one, other = without_locks(tmp_path), without_locks(tmp_path)
    claim = one.try_claim("key")
    assert claim is not None
    assert clock.slept == [stage_claims.SETTLE_SECONDS]
    assert other.try_claim("key") is None
    claim.release()
    assert list((tmp_path / "claims").iterdir()) == []
    again = other.try_claim("key")
    assert again is not None
    again.release()


def test_of_two_writers_one_wins(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found no claim and wrote one; the last writer reads its own claim back, the other does not."""
    one, other = without_locks(tmp_path), without_locks(tmp_path)
    found: list[Claim | None] = []
    monkeypatch.setattr(other, "_is_alive", lambda key, path: False)  # as if it had looked before the first one wrote
    clock.during.append(lambda: found.append(other.try_claim("key")))
    assert one.try_claim("key") is None
    (winner,) = found
    assert winner is not None
    assert one.try_claim("key") is None
    winner.release()


def test_a_claim_without_heartbeats_expires(tmp_path: Path, clock: Clock) -> None:
    gone, other = without_locks(tmp_path), without_locks(tmp_path)
    gone._storage.write("claims/key", b"somebody 3")
    assert other.try_claim("key") is None
    clock.now += EXPIRY_SECONDS - 1
    assert other.try_claim("key") is None
    clock.now += 1
    claim = other.try_claim("key")
    assert claim is not None
    assert not (tmp_path / "claims" / "key").read_text().startswith("somebody")
    claim.release()


def test_a_claim_with_heartbeats_does_not_expire(tmp_path: Path, clock: Clock) -> None:
    alive, other = without_locks(tmp_path), without_locks(tmp_path)
    for beat in range(5):
        alive._storage.write("claims/key", f"somebody {beat}".encode())
        assert other.try_claim("key") is None
        clock.now += EXPIRY_SECONDS - 1
        assert other.try_claim("key") is None
        clock.now += 2  # later than the expiry of the first beat, but there is a new one


def test_a_claim_writes_heartbeats(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = threading.Event()
    write = stage_claims._WrittenClaim._write

    def noted(self: Any, beats: int) -> None:
        write(self, beats)
        if beats >= 2:
            beaten.set()

    monkeypatch.setattr(stage_claims._WrittenClaim, "_write", noted)
    monkeypatch.setattr(stage_claims, "HEARTBEAT_SECONDS", 0.001)
    claim = without_locks(tmp_path).try_claim("key")
    assert claim is not None
    assert beaten.wait(60)
    claim.release()
    assert not (tmp_path / "claims" / "key").exists()


# --- chains -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("claims") / "conflict")


def spec_of(data: Path, **training: Any) -> ChainSpec:
    return chain_spec(data, [[binary("first")], [binary("second")]], paper(**{**SHORT, **training}))


class Awaiting(Recorder):
    """Signals when a chain waits for another one."""

    def __init__(self, awaited: threading.Event) -> None:
        super().__init__()
        self._awaited = awaited

    def report(self, event: Event) -> None:
        super().report(event)
        if isinstance(event, StageAwaited):
            self._awaited.set()


def test_two_chains_at_once_train_each_stage_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    awaited = threading.Event()
    stage = nmt.trainers.stage.chain.Stage

    def build_when_awaited(*arguments: Any) -> Any:
        assert awaited.wait(60)  # the other chain has found the stage claimed
        return stage(*arguments)

    monkeypatch.setattr(nmt.trainers.stage.chain, "Stage", build_when_awaited)
    monkeypatch.setattr(nmt.trainers.stage.chain, "POLL_SECONDS", 0.001)
    spec = spec_of(data)
    prepared = [feed_and_model(spec, data) for _ in range(2)]
    recorders = [Awaiting(awaited) for _ in range(2)]
    records: dict[int, tuple[StageRecord, ...]] = {}

    def run(chain: int) -> None:
        feed, model = prepared[chain]
        store, claims = StageStore(str(tmp_path)), StageClaims(str(tmp_path))
        records[chain] = run_chain(spec, model, feed, store, recorders[chain], claims=claims)

    threads = [threading.Thread(target=run, args=(chain,), daemon=True) for chain in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(records) == [0, 1]
    for one, other in zip(records[0], records[1], strict=True):
        assert_same_result(one, other)
    events = [event for recorder in recorders for event in recorder.events]
    started = [event.key for event in events if isinstance(event, StageStarted)]
    assert sorted(started) == sorted(spec.stage_keys())
    finished = [event for event in events if isinstance(event, StageFinished)]
    for key in spec.stage_keys():
        assert sorted(event.reused for event in finished if event.record.key == key) == [False, True]
    awaited_stages = {(event.stage, event.key, event.level) for event in events if isinstance(event, StageAwaited)}
    assert (0, spec.stage_keys()[0], ("first",)) in awaited_stages
    for one, other in zip(*(model.parameters() for _, model in prepared), strict=True):
        assert bool((one == other).all())
    free = StageClaims(str(tmp_path))
    for key in spec.stage_keys():
        claim = free.try_claim(key)
        assert claim is not None
        claim.release()


def test_waiting_for_a_stage_is_reported_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(data)
    key = spec.stage_keys()[0]
    held = StageClaims(str(tmp_path)).try_claim(key)
    assert held is not None
    looks: list[str] = []

    class Claims(StageClaims):
        def try_claim(self, key: str) -> Claim | None:
            looks.append(key)
            if len(looks) == 3 and held is not None:
                held.release()
            return super().try_claim(key)

    monkeypatch.setattr(nmt.trainers.stage.chain, "POLL_SECONDS", 0.0)
    recorder = Recorder()
    feed, model = feed_and_model(spec, data)
    run_chain(spec, model, feed, StageStore(str(tmp_path)), recorder, claims=Claims(str(tmp_path)), stages=1)
    assert looks == [key] * 3
    assert recorder.kinds() == ["StageAwaited", "StageStarted", "StageFinished"]


def test_a_claim_is_released_when_training_fails(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise NumericalError("the loss is nan")

    monkeypatch.setattr(nmt.trainers.stage.chain, "Stage", fail)
    spec = spec_of(data)
    feed, model = feed_and_model(spec, data)
    with pytest.raises(NumericalError):
        run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder(), claims=StageClaims(str(tmp_path)))
    claim = StageClaims(str(tmp_path)).try_claim(spec.stage_keys()[0])
    assert claim is not None
    claim.release()


def test_only_the_requested_stages_are_run(data: Path, tmp_path: Path) -> None:
    spec = spec_of(data)
    store = StageStore(str(tmp_path))
    feed, model = feed_and_model(spec, data)
    (record,) = run_chain(spec, model, feed, store, Recorder(), stages=1)
    first, second = spec.stage_keys()
    assert record.key == first
    assert store.read(first) is not None
    assert store.read(second) is None
