"""The declared sources, on the real files if they are here, else on small tables with the same columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import adult, digits, kuairand, toxcast
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import Schema

SHARED = Path(os.environ.get("NMT_SHARED", Path(__file__).parents[3].parent / "shared")) / "data"
ROWS = 300


def synthetic_kuairand(rng: np.random.Generator) -> dict[str, Any]:
    ids = ("user_id", "video_id", "author_id", "hourmin", "tab", "is_live_streamer", "is_video_author")
    ids += tuple(f"onehot_feat{i}" for i in (0, 1, 2, 4, 8, 10))
    texts = ("video_type", "upload_type", "tag", "user_active_degree", "register_days_range")
    flags = ("finish", "is_like", "is_click", "long_view", "is_profile_enter")
    return {
        **{name: rng.integers(0, 20, ROWS) for name in ids},
        **{name: rng.choice(["a", "b", "c"], ROWS) for name in texts},
        **{name: rng.integers(0, 2, ROWS) for name in flags},
        "date": rng.integers(20220425, 20220430, ROWS),
        "duration_ms": rng.integers(0, 10**6, ROWS),
        "play_time_ms": rng.integers(0, 10**6, ROWS),
        "music_type": [None, 9.0] * (ROWS // 2),
    }


def synthetic_adult(rng: np.random.Generator) -> dict[str, Any]:
    outcomes = ("education", "marital_status", "relationship", "income")
    return {
        **{name: rng.choice(["a", "b", "c"], ROWS) for name in (*adult.CATEGORICAL, *outcomes)},
        **{name: rng.integers(0, 90, ROWS) for name in (*adult.NUMERIC, "capital_gain", "educational_num")},
        **{name: rng.integers(0, 2, ROWS) for name in adult.LABELS},
    }


def synthetic_toxcast(rng: np.random.Generator) -> dict[str, Any]:
    labels = rng.integers(0, 2, (64, ROWS))
    return {
        "smiles": ["C"] * ROWS,
        **{f"y_assay_{i}": pa.array(labels[i], mask=rng.random(ROWS) < 0.1) for i in range(64)},
        "fp1024": [rng.bytes(128) for _ in range(ROWS)],
        **{name: rng.random(ROWS) for name in toxcast.DESCRIPTORS},
    }


SYNTHETIC: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "kuairand_mini": synthetic_kuairand,
    "adult": synthetic_adult,
    "toxcast64": synthetic_toxcast,
}


def file(name: str, folder: Path) -> str:
    """Return the path of the real file, or of a small one with its columns."""
    real = SHARED / f"{name}.parquet"
    if real.is_file():
        return str(real)
    columns = SYNTHETIC[name](np.random.default_rng(0))
    columns["split"] = ["train"] * (ROWS - 100) + ["valid"] * 50 + ["test"] * 50
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


def check(path: str, folder: Path) -> Schema:
    """Check rows, labels and ranges of a prepared folder against its input file."""
    schema = read_schema(str(folder))
    raw = pq.read_table(path)
    for split, rows in schema.rows.items():
        source = raw.filter(pc.equal(raw["split"], split))
        written = pq.read_table(folder / split)
        assert rows == written.num_rows == source.num_rows
        for name in schema.labels:
            assert written[name].to_pylist() == source[name].to_pylist()
        for name, size in schema.categorical.items():
            assert 1 <= pc.min(written[name]).as_py() <= pc.max(written[name]).as_py() < size
        for name in schema.numeric:
            assert np.isfinite(written[name]).all()
    return schema


def test_kuairand(tmp_path: Path) -> None:
    path = file("kuairand_mini", tmp_path)
    schema = check(path, kuairand.prepare(path, tmp_path / "cache"))
    assert list(schema.labels) == ["is_like", "finish", "is_click", "long_view", "is_profile_enter"]
    assert set(schema.labels.values()) == {2}
    assert {"user_id", "video_id", "tab", "onehot_feat8"} <= set(schema.categorical)
    assert "music_id" not in schema.categorical  # not in this table
    assert list(schema.numeric) == ["duration_ms"]
    assert schema.numeric["duration_ms"].mean < 15  # a logarithm
    assert not set(schema.features) & kuairand.OUTCOMES


def test_kuairand_never_declares_an_outcome_as_feature() -> None:
    features = {*kuairand.CATEGORICAL, *kuairand.COUNTS}
    assert not features & kuairand.OUTCOMES
    # The other flags are not outcomes: they describe the user.
    assert {name for name in features if name.startswith("is_")} == {
        "is_lowactive_period",
        "is_live_streamer",
        "is_video_author",
    }


def test_kuairand_labels(tmp_path: Path) -> None:
    path = file("kuairand_mini", tmp_path)
    schema = check(path, kuairand.prepare(path, tmp_path / "cache", labels=["long_view"]))
    assert schema.labels == {"long_view": 2}
    with pytest.raises(ValueError, match=r"labels names \['play_time_ms'\], which are not binary outcomes"):
        kuairand.prepare(path, tmp_path / "cache", labels=["play_time_ms"])


@pytest.mark.parametrize("column", ["user_id", "is_like", "finish", "split"])
def test_kuairand_core_columns(tmp_path: Path, column: str) -> None:
    whole = pq.read_table(file("kuairand_mini", tmp_path))
    pq.write_table(whole.drop_columns(column), tmp_path / "less.parquet")
    name = "'split' that says" if column == "split" else rf"\['{column}'\]"
    with pytest.raises(ValueError, match=f"has no column {name}"):
        kuairand.prepare(str(tmp_path / "less.parquet"), tmp_path / "cache")


def test_adult(tmp_path: Path) -> None:
    path = file("adult", tmp_path)
    schema = check(path, adult.prepare(path, tmp_path / "cache"))
    assert list(schema.labels) == ["y_income50k", "y_never_married", "y_college", "y_capital_gain"]
    assert not set(schema.features) & adult.OUTCOMES
    assert len(schema.features) == 9


def test_toxcast(tmp_path: Path) -> None:
    path = file("toxcast64", tmp_path)
    folder = toxcast.prepare(path, tmp_path / "cache")
    schema = check(path, folder)
    assert len(schema.labels) == 64
    assert schema.packed == {"fp1024": 1024}
    assert set(schema.features) == {"fp1024", *toxcast.DESCRIPTORS}
    written, raw = pq.read_table(folder / "valid"), pq.read_table(path)
    expected = raw.filter(pc.equal(raw["split"], "valid"))
    assert written["fp1024"].to_pylist() == expected["fp1024"].to_pylist()
    assert sum(written[name].null_count for name in schema.labels) > 0


def test_toxcast_without_assays(tmp_path: Path) -> None:
    pq.write_table(pa.table({"smiles": ["C"], "split": ["train"]}), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="no column that starts with 'y_'"):
        toxcast.prepare(str(tmp_path / "none.parquet"), tmp_path)


@pytest.mark.parametrize(
    ("source", "address"),
    [(kuairand, "https://kuairand.com"), (adult, "https://archive.ics.uci.edu"), (toxcast, "https://moleculenet.org")],
)
def test_without_a_path_the_error_says_where_to_get_the_file(source: Any, address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"data\.path is null.*{address}.*set data\.path"):
        source.prepare(None, tmp_path)


SIZES = {"train": 600, "valid": 100, "test": 200}


def test_digits(tmp_path: Path) -> None:
    folder = digits.prepare(None, tmp_path, **SIZES)
    schema = read_schema(str(folder))
    assert schema.rows == SIZES
    assert schema.labels == {"left": 10, "right": 10}
    assert len(schema.numeric) == 8 * 12
    again = digits.prepare(None, tmp_path / "other", **SIZES)
    assert read_schema(str(again)).fingerprint == schema.fingerprint
    other = digits.prepare(None, tmp_path, **SIZES, seed=1)
    assert read_schema(str(other)).fingerprint != schema.fingerprint


def test_digits_use_an_image_in_one_split_only() -> None:
    rows = digits.pictures(SIZES, seed=0)
    splits = np.asarray(rows["split"])
    used = {part: {*rows["left_image"].filter(splits == part).to_pylist()} for part in SIZES}
    for part in SIZES:
        used[part] |= {*rows["right_image"].filter(splits == part).to_pylist()}
    assert not used["train"] & used["valid"]
    assert not used["train"] & used["test"]
    assert not used["valid"] & used["test"]


def test_digits_overlay_by_the_brighter_pixel() -> None:
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = digits.pictures(SIZES, seed=0).to_pylist()
    for row in (rows[0], rows[650], rows[-1]):
        left, right = found.images[row["left_image"]] / 16, found.images[row["right_image"]] / 16
        assert (row["left"], row["right"]) == (found.target[row["left_image"]], found.target[row["right_image"]])
        for y, x in np.ndindex(8, 12):
            shown = max(left[y, x] if x < 8 else 0, right[y, x - 4] if x >= 4 else 0)
            assert row[f"pixel_{y}_{x}"] == shown


def test_digits_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'no-more-tuning\[digits\]'"):
        digits.prepare(None, tmp_path)


def test_digits_refuse_a_path_and_an_empty_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set data\.path to null"):
        digits.prepare("digits.parquet", tmp_path)
    with pytest.raises(ValueError, match=r"sizes {'valid': 0} are too small"):
        digits.prepare(None, tmp_path, valid=0)
