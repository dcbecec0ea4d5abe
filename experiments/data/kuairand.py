"""KuaiRand: a log of short videos shown to users, with what they did (like, watch to the end, …).

Two inputs:

* a folder with the official CSV files of KuaiRand-Pure, 1K or 27K: ``log_standard_*``, ``user_features_*`` and
  ``video_features_basic_*``, which are joined here. The randomised log and the video statistics, which know the future,
  are not read. By default the days from 25 April to 8 May 2022, the last three for the test and the two before
  for validation; ``finish`` is a video played to its end;
* a Parquet table of the same columns, joined, with ``finish`` and ``split``. Of the features, those that the table has
  are used; the core columns are required.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from experiments.data import table
from experiments.data.official import preparation
from experiments.data.official.blocks import header
from experiments.data.official.held_out import TEST, TRAIN, VALID
from experiments.data.official.recipe import SPLIT, Format, Join, Recipe
from experiments.data.table.rows import Files

CORE = ("user_id", "video_id", "split")
"""Columns that the table must have, beside the labels."""

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
"""Counts, sizes and durations, taken as log(1 + x)."""

LABELS = ("is_like", "finish")
MORE_LABELS = ("is_click", "long_view", "is_profile_enter")
"""Labels that are prepared when the table has them."""

OUTCOMES = frozenset(
    {
        *("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter"),
        *("long_view", "finish", "finish95", "play_time_ms", "profile_stay_time", "comment_stay_time"),
    }
)
"""What the user did with the video: labels at most, never features."""


FIRST_DAY = 20220425
VALID_DAY = 20220504
TEST_DAY = 20220506
"""First days of the log, of the validation split and of the test split."""

VERSIONS = ("pure", "1k", "27k")

_LOG = ("user_id", "video_id", "tab", "hourmin")
_COUNTED = frozenset({"follow_user_num", "fans_user_num", "friend_user_num", "register_days"})
_FRAMES = frozenset({"server_width", "server_height"})
_EARLIER = "log_standard_4_08_to_4_21"


def is_official(path: str) -> bool:
    """Whether a path is a folder with the official files, or one above it."""
    return any(Path(path).expanduser().rglob("log_standard_*.csv"))


def recipe(
    path: str | None,
    *,
    labels: Sequence[str] | None = None,
    min_count: int = 5,
    version: str | None = None,
    first_day: int = FIRST_DAY,
    max_damaged: float = 0.001,
) -> Recipe:
    """What becomes of the official files.

    Args:
        path: The folder with the files, or one above it.
        labels: The binary outcomes to prepare; ``None`` takes :data:`LABELS` and :data:`MORE_LABELS`.
        min_count: Tokens seen in fewer training rows than this share the id OOV.
        version: Which of :data:`VERSIONS`, where the folder has several.
        first_day: First day of the training rows; 20220408 takes the whole log.
        max_damaged: Largest share of damaged lines.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: ``path`` is ``None``, or an option cannot be used.
    """
    if path is None:
        raise ValueError(_NO_PATH)
    labels = _outcomes((*LABELS, *MORE_LABELS) if labels is None else labels)
    if not isinstance(first_day, int) or not 20220408 <= first_day < VALID_DAY:
        raise ValueError(f"first_day is {first_day!r}; give a day before {VALID_DAY}, from 20220408 on")
    folder = Path(path).expanduser()
    there = sorted({_version(file) for file in folder.rglob("log_standard_*.csv")})
    if version is None and len(there) > 1:
        raise ValueError(f"{path} has the versions {there}; name one as the option version")
    if version is not None and version not in there:
        raise ValueError(f"version is {version!r}; {path} has {there or 'no log_standard_*.csv'}")
    if not there:
        raise FileNotFoundError(f"{path} has no log_standard_*.csv; {_NO_PATH}")
    version = version or there[0]
    logs = tuple(
        file
        for file in _found(folder, "log_standard_", version)
        if first_day <= 20220421 or not file.name.startswith(_EARLIER)
    )
    users, videos = (_found(folder, f"{name}_", version) for name in ("user_features", "video_features_basic"))
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
    """Whether a video was played to its end, and the split by day."""
    date, played, length = (rows[name].to_numpy() for name in ("date", "play_time_ms", "duration_ms"))
    split = np.select([date < first_day, date < VALID_DAY, date < TEST_DAY], [-1, TRAIN, VALID], TEST)
    finish = np.where(np.isnan(length), np.nan, (played >= length) & (length > 0))
    return rows.append_column("finish", pa.array(finish)).append_column(SPLIT, pa.array(split.astype(np.int8)))


def _join(files: tuple[Path, ...], key: str) -> Join:
    """The features that a table has, under the names that they have here."""
    renamed = {"upload_dt": "upload_date"}
    line, _ = header(files[0])
    there = [name for name in line.decode(errors="replace").split(",") if name not in (*_LOG, *OUTCOMES)]
    numbers = tuple(name for name in there if name in _COUNTED | _FRAMES)
    tokens = tuple(name for name in there if renamed.get(name, name) in CATEGORICAL)
    return Join(files, key, tokens, numbers, {old: new for old, new in renamed.items() if old in there})


def _version(file: Path) -> str:
    """The version in a file's name, such as 27k in ``log_standard_4_22_to_5_08_27k_part1.csv``."""
    words = file.stem.split("_")
    return words[-2] if words[-1].startswith("part") else words[-1]


def _found(folder: Path, start: str, version: str) -> tuple[Path, ...]:
    files = sorted(file for file in folder.rglob(f"{start}*.csv") if _version(file) == version)
    if not files:
        raise FileNotFoundError(f"{folder} has no {start}{version}.csv; unpack the whole archive of KuaiRand-{version}")
    return tuple(files)


def _outcomes(labels: Sequence[str]) -> Sequence[str]:
    allowed = sorted(OUTCOMES - {"play_time_ms", "profile_stay_time", "comment_stay_time"})
    if wrong := [name for name in labels if name not in allowed]:
        raise ValueError(f"labels names {wrong}, which are no binary outcomes of the log; allowed are {allowed}")
    return labels


_NO_PATH = (
    "data.path is null, and KuaiRand comes with no package. Get KuaiRand-Pure, 1K or 27K from https://kuairand.com, "
    "unpack it, and set data.path to the folder"
)


def prepare(path: str | None, cache: Path, *, labels: Sequence[str] | None = None, min_count: int = 5) -> Path:
    """Prepare the KuaiRand log.

    Args:
        path: A folder with the official files; or a Parquet file, or a folder of them.
        cache: Where the prepared folder goes.
        labels: The binary outcomes to prepare as labels; ``None`` takes :data:`LABELS`, and of :data:`MORE_LABELS`
            those that the table has. The rare ones (follow, forward, hate, comment) must be named.
        min_count: Tokens seen in fewer training rows than this share the id OOV.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: ``path`` is ``None``, a label is no outcome of the log, or the table cannot be used.
    """
    if path is None:
        raise ValueError(_NO_PATH)
    if is_official(path):
        return preparation.prepare(recipe(path, labels=labels, min_count=min_count), cache)
    there = set(Files(path).names)
    if labels is None:
        labels = (*LABELS, *(name for name in MORE_LABELS if name in there))
    _outcomes(labels)
    return table.prepare(
        path,
        cache,
        categorical=[name for name in CATEGORICAL if name in there or name in CORE],
        numeric=[name for name in COUNTS if name in there],
        labels=dict.fromkeys(labels, 2),
        min_count=min_count,
        log1p=[name for name in COUNTS if name in there],
    )
