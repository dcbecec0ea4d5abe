"""Whether data is kept in memory or streamed, and what streams refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment import ingest
from nmt.orchestrator.experiment.ingest import bytes_in_memory, choose_ingest, physical_memory
from nmt.orchestrator.experiment.prepared import prepare
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.open_feed import open_feed
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.data.stream import StreamFeed

SCHEMA = Schema(
    categorical={"c": 9},
    numeric={"x": Numeric(), "y": Numeric()},
    packed={"p": 12},
    labels={"a": 2, "b": 2, "c": 2},
    rows={"train": 70, "valid": 20, "test": 10},
)


def test_bytes_in_memory_are_those_of_the_tensors(ranking_folder: Path) -> None:
    assert bytes_in_memory(SCHEMA, 2) == 100 * (4 + 2 * 4 + 2 + 2 * 4 + 8)
    feed = MemoryFeed(str(ranking_folder), ["pay"], 64, 0)
    batches = [batch for split in ("train", "valid", "test") for batch in feed.scan(split)]
    tensors = [t for b in batches for t in (b.categorical, b.numeric, b.packed, b.labels)]
    held = sum(tensor.nbytes for tensor in tensors)
    rows = sum(feed.schema.rows.values())
    assert bytes_in_memory(feed.schema, 1) == held + 8 * rows


def test_size_decides_unless_the_file_does(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = bytes_in_memory(SCHEMA, 2)
    for memory, expected in ((4 * needed, "memory"), (4 * needed - 1, "stream")):
        monkeypatch.setattr(ingest, "physical_memory", lambda memory=memory: memory)
        assert choose_ingest(None, SCHEMA, 2) == expected
        assert choose_ingest("memory", SCHEMA, 2) == "memory"
        assert choose_ingest("stream", SCHEMA, 2) == "stream"


@pytest.mark.parametrize(("text", "expected"), [("max\n", None), ("1000000\n", 1_000_000), (f"{1 << 60}", None)])
def test_memory_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None
) -> None:
    monkeypatch.setattr(ingest, "_CGROUP_LIMIT", tmp_path / "missing")
    whole = physical_memory()
    assert whole > 1 << 28
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(ingest, "_CGROUP_LIMIT", tmp_path / "memory.max")
    assert physical_memory() == (expected or whole)


def test_feeds(ranking_folder: Path) -> None:
    assert isinstance(open_feed("memory", str(ranking_folder), ["pay"], 64, 0), MemoryFeed)
    assert isinstance(open_feed("stream", str(ranking_folder), ["pay"], 64, 0), StreamFeed)


def test_only_a_stream_changes_the_keys(experiment_file: Path) -> None:
    said: list[str] = []
    silent, memory, stream = (
        prepare(str(experiment_file), overrides, said.append).spec
        for overrides in ([], ["data.ingest=memory"], ["data.ingest=stream"])
    )
    assert silent == memory
    assert not set(memory.stage_keys()) & set(stream.stage_keys())
    assert said == []


def test_large_data_is_streamed_and_reported(experiment_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "physical_memory", lambda: 1000)
    said: list[str] = []
    assert prepare(str(experiment_file), [], said.append).spec.ingest == "stream"
    assert said == ["the data takes 0.0 GB in memory, more than 25% of this machine's memory: it is streamed"]


def test_an_unknown_ingest_is_refused(experiment_file: Path) -> None:
    with pytest.raises(RequestError, match=r"data\.ingest: .*'memory' or 'stream' \(found 'disk'\)"):
        prepare(str(experiment_file), ["data.ingest=disk"], print)


STREAMED = "data.ingest=stream"


def test_pairs_of_streamed_training_examples_are_refused(experiment_file: Path) -> None:
    with pytest.raises(
        RequestError, match=r"violations: paired needs .* data\.ingest is stream.*; set violations: held"
    ):
        prepare(str(experiment_file), [STREAMED, "training.violations=paired"], print)
    for violations in ("held_out", "minibatch"):
        streamed = prepare(str(experiment_file), [STREAMED, f"training.violations={violations}"], print)
        assert streamed.spec.ingest == "stream"


def test_prepared_data_at_a_uri(experiment_file: Path, ranking_folder: Path) -> None:
    here = prepare(str(experiment_file), [], print)
    there = prepare(str(experiment_file), [f"data.path=file://{ranking_folder}"], print)
    assert there.folder == f"file://{ranking_folder}"
    assert there.spec == here.spec
    assert read_schema(there.folder) == here.schema
    with pytest.raises(RequestError, match=r"data: 'nowhere://x' is not a URI that pyarrow can open"):
        prepare(str(experiment_file), ["data.path=nowhere://x"], print)
