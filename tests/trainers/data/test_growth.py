"""Vocabularies that grow from day to day: ids stay, new tokens are appended, rows say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nmt.trainers.data import prepared
from nmt.trainers.data.growth import grow, plan_growth
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.encoding.tokens import TokenColumn
from nmt.trainers.live.store import keep_live
from nmt.trainers.spec.previous import Previous
from tests.trainers.live._days import Day, day, rows, spec_of, train


def column(*tokens: object) -> TokenColumn:
    values = pa.array(tokens)
    return TokenColumn(values.type, values)


@pytest.mark.parametrize(
    ("earlier", "today", "expected"),
    [
        (("b", "d"), ("a", "b", "c"), ["b", "d", "a", "c"]),
        ((2, 5), (1, 2, 9), [2, 5, 1, 9]),
        ((7, 3), (1, 3, 5), [7, 3, 1, 5]),  # grown before: no longer in order
        ((True,), (False, True), [True, False]),
        (("a",), (), ["a"]),
    ],
)
def test_every_token_keeps_its_id(
    earlier: tuple[object, ...], today: tuple[object, ...], expected: list[object]
) -> None:
    before, later = column(*earlier), column(*today) if today else TokenColumn(pa.string(), pa.array([], pa.string()))
    grown = before.extended(later)
    assert grown.tokens.to_pylist() == expected
    values = pa.array([*expected, None])
    assert grown.ids(values).to_pylist() == [*range(1, len(expected) + 1), grown.size - 1]
    known = pa.array(list(earlier))
    assert grown.ids(known).to_pylist() == before.ids(known).to_pylist()


def test_tokens_that_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"column 'user' holds string, earlier days had int64; convert it to that"):
        plan_growth(Encoder({"user": column(1, 2)}), Encoder({"user": column("1", "a")}))
    with pytest.raises(ValueError, match="earlier days had the columns user, today item"):
        plan_growth(Encoder({"user": column("a")}), Encoder({"item": column("a")}))


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, Day]:
    folder = tmp_path_factory.mktemp("days")
    return day(folder / "one", rows(20)), day(folder / "two", rows(50, seed=1))


def test_grown_rows_are_what_the_grown_encoder_makes_of_raw_ones(days: tuple[Day, Day], tmp_path: Path) -> None:
    one, two = days
    growth = plan_growth(one.encoder, two.encoder)
    schema = grow(str(two.folder), two.schema, growth, tmp_path / "grown")
    assert growth.new == {"user": 30, "shop": 0}
    assert schema.categorical == {"user": 52, "shop": two.schema.categorical["shop"]}
    assert schema.fingerprint != two.schema.fingerprint
    assert schema.rows == two.schema.rows
    encoder = read_encoder(str(tmp_path / "grown"), schema)
    assert encoder.categorical["user"].tokens.to_pylist()[:20] == one.encoder.categorical["user"].tokens.to_pylist()
    feed = MemoryFeed(str(tmp_path / "grown"), ["click", "buy"], 64, 0)
    for split in SPLITS:
        raw = two.raw.filter(pa.array(np.asarray(two.raw["split"]) == split))
        if split == "train":
            assert encoder.counts["user"].sum() == raw.num_rows
            continue
        found = [batch.categorical.numpy() for batch in feed.scan(split)]
        np.testing.assert_array_equal(np.concatenate(found), encoder.encode(raw).categorical)
    assert grow(str(two.folder), two.schema, growth, tmp_path / "grown") == schema  # once


def test_tokens_that_today_lacks_keep_their_place(days: tuple[Day, Day], tmp_path: Path) -> None:
    one, two = days
    growth = plan_growth(two.encoder, one.encoder)
    assert growth.new == {"user": 0, "shop": 0}
    schema = grow(str(one.folder), one.schema, growth, tmp_path / "grown")
    assert schema.categorical["user"] == two.schema.categorical["user"]
    counts = growth.encoder.counts["user"]
    assert (counts == 0).sum() == 30
    assert counts.sum() == 1200


def test_a_data_set_without_an_encoder_grows_by_ids(tmp_path: Path) -> None:
    def write(name: str, size: int) -> tuple[str, Schema]:
        ids = pa.array(np.arange(size) % size, pa.int32())
        table = pa.table({"item": ids, "y": pa.array(np.arange(size) % 2, pa.float32())})
        folder = tmp_path / name
        return str(folder), prepared.write(
            folder, Schema({"item": size}, labels={"y": 2}), {split: [table] for split in SPLITS}
        )

    (_, small), (folder, large) = write("small", 5), write("large", 9)
    growth = plan_growth(prepared.encoder_of_ids(small), read_encoder(folder, large))
    assert growth.new == {"item": 4}
    assert growth.ids["item"].tolist() == list(range(9))
    assert growth.encoder.to_files() == read_encoder(folder, large).to_files()


def test_multipliers_start_from_the_day_before(days: tuple[Day, Day], tmp_path: Path) -> None:
    one, _ = days
    records, model = train(spec_of(one, eta_theta=0.03), one, tmp_path)
    digest = keep_live(str(tmp_path), model)
    settings = {"eta_theta": 0.03, "eta_lambda": 1e-9}
    spec = spec_of(one, None, **settings)
    keys = spec.stage_keys()

    def previous(value: float) -> Previous:
        return Previous(digest, {"buy": {"click": value}, "joint": {}})

    later = replace(spec, previous=previous(0.625))
    found, _ = train(later, one, tmp_path)
    assert found[-1].multipliers["click"] == pytest.approx(0.625, abs=1e-6)
    # The first candidate of the first stage is the model of the day before.
    assert found[0].candidates[0].losses == pytest.approx(records[-1].losses["valid"], rel=1e-5)
    assert not set(keys) & set(later.stage_keys())
    other = replace(spec, previous=previous(0.5)).stage_keys()
    assert [a == b for a, b in zip(later.stage_keys(), other, strict=True)] == [True, True, False]
    assert not set(replace(spec, previous=Previous("another")).stage_keys()) & set(later.stage_keys())
