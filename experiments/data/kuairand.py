"""KuaiRand: a log of short videos shown to users, with what they did (like, watch to the end, …).

Two kinds of input:

* A folder with the official CSV files of KuaiRand-Pure, 1K or 27K: ``log_standard_*``, ``user_features_*`` and
  ``video_features_basic_*``, which are joined. The randomised log is not read, nor are the video statistics, which
  contain the future. By default the log from 25 April to 8 May 2022 is used: the last three days are the test split,
  the two days before them validation. ``finish`` means that the video was played to its end.
* A Parquet table with the same columns, already joined, and ``finish`` and ``split``. The core columns are required; of
  the other features those that the table has are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from nmt.experiments.data import table
from nmt.experiments.data.official import preparation
from nmt.experiments.data.official.held_out import TEST, TRAIN, VALID
from nmt.experiments.data.official.recipe import SPLIT, Join, Recipe
from nmt.experiments.data.official.text.blocks import read_header
from nmt.experiments.data.official.text.format import Format
from nmt.experiments.data.table.raw_table import ParquetTable
from nmt.experiments.data.table.splits import Declared
from nmt.trainers.store.data_files import data_files

CORE = ("user_id", "video_id", "split")
"""Required columns of the table, beside the labels."""

CATEGORICAL = (
    *("user_id", "video_id", "author_id", "music_id", "tag", "tab", "hourmin"),
    *("video_type", "upload_type", "music_type", "upload_date"),
    *("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author"),
    *("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range"),
    *(f"onehot_feat{i}" for i in range(18)),
)
COUNTS = (
    *("duration_ms", "server_width", "server_height"),
    *("follow_user_num", "fans_user_num", "friend_user_num", "register_days"),
)
"""Counts, sizes and durations, transformed by log(1 + x)."""

LABELS = ("is_like", "finish")
MORE_LABELS = ("is_click", "long_view", "is_profile_enter")
"""Further labels, prepared if the table has them."""

OUTCOMES = frozenset(
    {
        *("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter"),
        *("long_view", "finish", "finish95", "play_time_ms", "profile_stay_time", "comment_stay_time"),
    }
)
"""What the user did with the video: possible labels, never features."""

FIRST_DAY = 20220425
VALID_DAY = 20220504
TEST_DAY = 20220506
"""First day of the training, the validation and the test split."""

VERSIONS = ("pure", "1k", "27k")

_LOG = ("user_id", "video_id", "tab", "hourmin")
_COUNTED = frozenset({"follow_user_num", "fans_user_num", "friend_user_num", "register_days"})
_FRAMES = frozenset({"server_width", "server_height"})
_EARLIER = "log_standard_4_08_to_4_21"


def is_official(path: str) -> bool:
    """Return whether a folder has the official files, at any depth."""
    return bool(_csv_files(Path(path).expanduser(), "log_standard_"))


def recipe(
    path: str | None,
    *,
    labels: Sequence[str] | None = None,
    min_count: int = 5,
    version: str | None = None,
    first_day: int = FIRST_DAY,
    max_damaged: float = 0.001,
) -> Recipe:
    """Declare how the official files are prepared.

    Args:
        path: A folder with the files, at any depth.
        labels: The binary outcomes to prepare; ``None`` takes :data:`LABELS` and :data:`MORE_LABELS`.
        min_count: Tokens that fewer training rows have share the id OOV.
        version: One of :data:`VERSIONS`; needed if the folder has several.
        first_day: First day of the training rows; 20220408 takes the whole log.
        max_damaged: Largest share of damaged lines that is accepted.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: ``path`` is ``None``, or an option is out of range.
    """
    if path is None:
        raise ValueError(_NO_PATH)
    labels = _check_labels((*LABELS, *MORE_LABELS) if labels is None else labels)
    if not isinstance(first_day, int) or not 20220408 <= first_day < VALID_DAY:
        raise ValueError(f"first_day is {first_day!r}; give a day before {VALID_DAY}, from 20220408 on")
    folder = Path(path).expanduser()
    found = sorted({_version(file) for file in _csv_files(folder, "log_standard_")})
    if version is None and len(found) > 1:
        raise ValueError(f"{path} has the versions {found}; name one as the option version")
    if version is not None and version not in found:
        raise ValueError(f"version is {version!r}; {path} has {found or 'no log_standard_*.csv'}")
    if not found:
        raise FileNotFoundError(f"{path} has no log_standard_*.csv; {_DOWNLOAD}")
    version = version or found[0]
    logs = tuple(
        file
        for file in _files(folder, "log_standard_", version)
        if first_day <= 20220421 or not file.name.startswith(_EARLIER)
    )
    users, videos = (_files(folder, f"{name}_", version) for name in ("user_features", "video_features_basic"))
    joins = (_join(users, "user_id"), _join(videos, "video_id"))
    joined = {join.renamed.get(name, name) for join in joins for name in join.columns}
    categorical = tuple(name for name in CATEGORICAL if name in joined or name in _LOG)
    numeric = tuple(name for name in COUNTS if name in joined or name == "duration_ms")
    outcomes = tuple(name for name in labels if name != "finish")
    return Recipe(
        name=f"kuairand-{version}",
        source=f"KuaiRand-{version}, standard log from {first_day}",
        files=logs,
        form=Format(","),
        tokens=_LOG,
        numbers=("date", "play_time_ms", "duration_ms", *outcomes),
        categorical=categorical,
        numeric=numeric,
        log1p=frozenset(numeric),
        labels=dict.fromkeys(labels, 2),
        min_count=min_count,
        joins=joins,
        derive=partial(_derive, first_day=first_day),
        splits=True,
        max_damaged=max_damaged,
    )


def _derive(rows: pa.Table, path: str, *, first_day: int) -> pa.Table:
    """Add ``finish``, whether the video was played to its end, and the split by day."""
    date, played, length = (rows[name].to_numpy() for name in ("date", "play_time_ms", "duration_ms"))
    split = np.select([date < first_day, date < VALID_DAY, date < TEST_DAY], [-1, TRAIN, VALID], TEST)
    finish = np.where(np.isnan(length), np.nan, (played >= length) & (length > 0))
    return rows.append_column("finish", pa.array(finish)).append_column(SPLIT, pa.array(split.astype(np.int8)))


def _join(files: tuple[Path, ...], key: str) -> Join:
    """Declare the join of a table of features, under the names of the Parquet table."""
    renamed = {"upload_dt": "upload_date"}
    names, _ = read_header(files[0], ",")
    columns = [name for name in names if name not in (*_LOG, *OUTCOMES)]
    numbers = tuple(name for name in columns if name in _COUNTED | _FRAMES)
    tokens = tuple(name for name in columns if renamed.get(name, name) in CATEGORICAL)
    return Join(files, key, tokens, numbers, {old: new for old, new in renamed.items() if old in columns})


def _version(file: Path) -> str:
    """Return the version in a file's name, such as 27k in ``log_standard_4_22_to_5_08_27k_part1.csv``."""
    words = file.stem.split("_")
    return words[-2] if words[-1].startswith("part") else words[-1]


def _files(folder: Path, start: str, version: str) -> tuple[Path, ...]:
    files = [file for file in _csv_files(folder, start) if _version(file) == version]
    if not files:
        raise FileNotFoundError(f"{folder} has no {start}{version}.csv; unpack the whole archive of KuaiRand-{version}")
    return tuple(files)


def _csv_files(folder: Path, start: str) -> list[Path]:
    """Return the CSV files whose names begin so, at any depth."""
    found = data_files(LocalFileSystem(), str(folder.absolute()), (".csv",)) if folder.is_dir() else []
    return [path for file in found if (path := Path(file.path)).name.startswith(start)]


def _check_labels(labels: Sequence[str]) -> Sequence[str]:
    allowed = sorted(OUTCOMES - {"play_time_ms", "profile_stay_time", "comment_stay_time"})
    if wrong := [name for name in labels if name not in allowed]:
        raise ValueError(f"labels names {wrong}, which are not binary outcomes of the log; allowed are {allowed}")
    return labels


_DOWNLOAD = "get KuaiRand-Pure, 1K or 27K from https://kuairand.com, unpack it, and set data.path to the folder"
_NO_PATH = f"data.path is null, and no package contains KuaiRand; {_DOWNLOAD}"


def prepare(
    path: str | None,
    cache: Path,
    *,
    labels: Sequence[str] | None = None,
    min_count: int = 5,
    split: Declared = "split",
) -> Path:
    """Prepare the KuaiRand log.

    Args:
        path: A folder with the official files; or a Parquet file, or a folder of them.
        cache: Folder of prepared folders.
        labels: The binary outcomes to prepare as labels; ``None`` takes :data:`LABELS`, and of :data:`MORE_LABELS`
            those that the table has. The rare ones (follow, forward, hate, comment) must be named.
        min_count: Tokens that fewer training rows have share the id OOV.
        split: How the rows of a Parquet table are split (:func:`nmt.experiments.data.table.prepare`); official files
            are split by day.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: ``path`` is ``None``, a label is not an outcome of the log, or the table cannot be used.
    """
    if path is None:
        raise ValueError(_NO_PATH)
    if is_official(path):
        if split != "split":
            raise ValueError(f"split is {split!r}; the official files are split by day, leave it out")
        return preparation.prepare(recipe(path, labels=labels, min_count=min_count), cache)
    available = set(ParquetTable(path).names)
    core = [name for name in CORE if name != "split"]
    if labels is None:
        labels = (*LABELS, *(name for name in MORE_LABELS if name in available))
    _check_labels(labels)
    return table.prepare(
        path,
        cache,
        categorical=[name for name in CATEGORICAL if name in available or name in core],
        numeric=[name for name in COUNTS if name in available],
        labels=dict.fromkeys(labels, 2),
        min_count=min_count,
        log1p=[name for name in COUNTS if name in available],
        split=split,
    )
