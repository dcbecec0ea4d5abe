"""KuaiRand's official CSV files, small and synthetic."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import kuairand
from nmt.experiments.data.official import preparation
from nmt.experiments.data.official.text import blocks as blocks_module
from nmt.trainers.data.prepared import read_schema
from nmt.trainers.data.schema import SPLITS

Rows = list[dict[str, Any]]

LOG = (
    *("user_id", "video_id", "date", "hourmin", "time_ms"),
    *("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view"),
    *("play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time", "is_profile_enter", "is_rand", "tab"),
)
VIDEO = (
    *("video_id", "author_id", "video_type", "upload_dt", "upload_type", "visible_status", "video_duration"),
    *("server_width", "server_height", "music_id", "music_type", "tag"),
)
DAYS = [*range(20220422, 20220431), *range(20220501, 20220509)]


def users(count: int = 40) -> Rows:
    names = (
        *("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author"),
        *("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range"),
        *(f"onehot_feat{i}" for i in range(18)),
    )
    counts = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
    return [
        {"user_id": user}
        | {name: f"{name[:2]}{user % 3}" for name in names}
        | dict.fromkeys(counts, user * 10)
        | {"fans_user_num_range": "[10,100)", "onehot_feat4": "" if user % 2 else 1.0}
        for user in range(count)
    ]


def clips(count: int = 60) -> Rows:
    """Return the features of most videos; the log has a few more."""
    return [
        {
            "video_id": video,
            "author_id": video // 3,
            "video_type": "NORMAL",
            "upload_dt": f"2022-04-{video % 20 + 1:02}",
            "upload_type": "Web",
            "visible_status": 1.0,
            "video_duration": 1000.0,
            "server_width": 720.0,
            "server_height": "" if video % 7 == 0 else 1280.0,
            "music_id": video % 11,
            "music_type": 9.0,
            "tag": "39,43" if video % 2 else "8",
        }
        for video in reversed(range(count - 5))
    ]


def log(count: int, seed: int, days: Sequence[int] = DAYS) -> Rows:
    rng = np.random.default_rng(seed)
    return [
        dict.fromkeys(LOG, 0)
        | {
            "user_id": rng.integers(40),
            "video_id": rng.integers(60),
            "date": days[rng.integers(len(days))],
            "hourmin": 100 * rng.integers(24),
            "time_ms": 1650812741436 + number,
            "is_like": int(rng.random() < 0.1),
            "is_click": int(rng.random() < 0.4),
            "long_view": int(rng.random() < 0.3),
            "is_profile_enter": int(rng.random() < 0.2),
            "is_follow": int(rng.random() < 0.2),
            "play_time_ms": [500, 1000, 1500][number % 3],
            "duration_ms": [1000, 1000, 1000, 0][number % 4],
            "tab": rng.integers(3),
        }
        for number in range(count)
    ]


def write(path: Path, rows: Rows, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_archive(folder: Path, version: str) -> Rows:
    """Write the unpacked archive of a version, and return the rows of the later standard log."""
    data = folder / f"KuaiRand-{version}" / "data"
    parts = ["_part1", "_part2"] if version == "27k" else [""]
    rows: Rows = []
    for number, part in enumerate(parts):
        mine = log(900 // len(parts), number)
        write(data / f"log_standard_4_22_to_5_08_{version}{part}.csv", mine, LOG)
        write(data / f"log_standard_4_08_to_4_21_{version}{part}.csv", log(50, 9, [20220410]), LOG)
        rows += mine
    write(data / f"log_random_4_22_to_5_08_{version}.csv", log(50, 8), LOG)
    write(data / f"user_features_{version}.csv", users(), list(users()[0]))
    write(data / f"video_features_basic_{version}.csv", clips(), VIDEO)
    statistics = [f"video_features_statistic_{version}{part}.csv" for part in parts]
    for name in statistics:
        write(data / name, [{"video_id": 1, "show_cnt": 5}], ["video_id", "show_cnt"])
    return rows


def split_of(day: int) -> str | None:
    if day < 20220425:
        return None
    return "train" if day <= 20220503 else "valid" if day <= 20220505 else "test"


@pytest.mark.parametrize("version", ["pure", "1k", "27k"])
def test_the_official_files(tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BYTES", 4000)  # lookups over several blocks
    rows = write_archive(tmp_path, version)
    folder = kuairand.prepare(str(tmp_path), tmp_path / "cache", min_count=1)
    schema = read_schema(str(folder))
    assert list(schema.labels) == ["is_like", "finish", "is_click", "long_view", "is_profile_enter"]
    assert list(schema.categorical) == list(kuairand.CATEGORICAL)
    assert list(schema.numeric) == list(kuairand.COUNTS)
    assert not set(schema.features) & kuairand.OUTCOMES
    words: dict[str, dict[int, str]] = {}
    for word in pq.read_table(folder / "vocabulary.parquet").to_pylist():
        words.setdefault(word["column"], {})[word["id"]] = word["token"]
    videos = {clip["video_id"]: clip | {"upload_date": clip["upload_dt"]} for clip in clips()}
    for split in SPLITS:
        expected = [row for row in rows if split_of(row["date"]) == split]
        written = pq.read_table(folder / split).to_pylist()
        assert len(written) == len(expected) == schema.rows[split]
        for one, row in zip(written, expected, strict=True):
            assert one["finish"] == (row["play_time_ms"] >= row["duration_ms"] > 0)
            assert one["is_like"] == row["is_like"]
            joined = row | users()[row["user_id"]] | videos.get(row["video_id"], {})
            for name in ("user_id", "tag", "upload_date", "fans_user_num_range", "onehot_feat4", "author_id", "tab"):
                token = str(joined.get(name, ""))
                found = words[name].get(one[name], "")
                assert found == token or (found == "" and token not in words[name].values())
            height = float(joined.get("server_height") or np.nan)
            mean = schema.numeric["server_height"].mean
            assert one["server_height"] == pytest.approx(mean if np.isnan(height) else np.log1p(height))
            assert one["register_days"] == pytest.approx(np.log1p(10 * row["user_id"]), rel=1e-6)


def test_the_whole_log_and_rare_labels(tmp_path: Path) -> None:
    write_archive(tmp_path, "pure")
    recipe = kuairand.recipe(str(tmp_path), first_day=20220408, labels=["is_follow"])
    report = preparation.build(recipe, tmp_path / "out")
    assert report.left_out == 0
    assert sum(read_schema(str(tmp_path / "out")).rows.values()) == 950
    assert list(read_schema(str(tmp_path / "out")).labels) == ["is_follow"]
    preparation.build(kuairand.recipe(str(tmp_path)), tmp_path / "fewer")
    assert sum(read_schema(str(tmp_path / "fewer")).rows.values()) < 900


def test_the_first_row_of_a_video_counts(tmp_path: Path) -> None:
    write_archive(tmp_path, "pure")
    file = tmp_path / "KuaiRand-pure" / "data" / "video_features_basic_pure.csv"
    write(file, [*clips(), *(clip | {"upload_type": "Other"} for clip in clips())], VIDEO)
    folder = kuairand.prepare(str(tmp_path), tmp_path / "cache")
    words = pq.read_table(folder / "vocabulary.parquet").to_pylist()
    assert [word["token"] for word in words if word["column"] == "upload_type"] == ["Web"]


def test_a_damaged_line_of_features(tmp_path: Path) -> None:
    write_archive(tmp_path, "pure")
    file = tmp_path / "KuaiRand-pure" / "data" / "video_features_basic_pure.csv"
    lines = file.read_text().splitlines()
    lines[3] = lines[3].replace('"', "", 1) if '"' in lines[3] else lines[3] + ',"'
    file.write_text("\n".join(lines) + "\n")
    report = preparation.build(kuairand.recipe(str(tmp_path), max_damaged=0.05), tmp_path / "out")
    assert [(Path(damage.path).name, damage.line) for damage in report.first] == [(file.name, 4)]


def test_refusals(tmp_path: Path) -> None:
    write_archive(tmp_path, "pure")
    write_archive(tmp_path, "1k")
    with pytest.raises(ValueError, match=r"has the versions \['1k', 'pure'\]; name one"):
        kuairand.recipe(str(tmp_path))
    assert kuairand.recipe(str(tmp_path), version="1k").name == "kuairand-1k"
    with pytest.raises(ValueError, match="version is '27k'"):
        kuairand.recipe(str(tmp_path), version="27k")
    with pytest.raises(ValueError, match="first_day is 20220505"):
        kuairand.recipe(str(tmp_path), version="1k", first_day=20220505)
    with pytest.raises(ValueError, match="not binary outcomes"):
        kuairand.recipe(str(tmp_path), version="1k", labels=["play_time_ms"])
    (tmp_path / "KuaiRand-1k" / "data" / "user_features_1k.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no user_features_1k\.csv; unpack the whole archive"):
        kuairand.recipe(str(tmp_path), version="1k")
